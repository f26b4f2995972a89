"""python -m flowconv."""

from flowconv.cli.app import run

run()
