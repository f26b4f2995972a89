"""Reports as people see them on stdout; those of a package in a module, `parts` in all."""
