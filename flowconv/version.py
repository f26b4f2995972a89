"""The release, which pyproject.toml, the command line and written files name."""

VERSION = "0.1.0"
