"""python -m flowconv."""

from flowconv.cli import run

run()
