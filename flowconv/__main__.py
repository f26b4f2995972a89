"""python -m flowconv."""

from flowconv.cli import app

app()
