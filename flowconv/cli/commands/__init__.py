"""The commands, those of a package in a module; `app` registers them."""
