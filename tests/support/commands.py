"""Commands as a terminal gives them, and the codes with which they end."""

from pathlib import Path

from typer.testing import CliRunner, Result

from flowconv.cli.app import app

DONE, FAILED, USAGE, INCOMPLETE, INTERRUPTED = 0, 1, 2, 3, 130


def run(*arguments: str | Path, code: int = DONE) -> Result:
    """Run a command in this process; nothing but an exit code may come out of it."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result
