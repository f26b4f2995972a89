"""What turns whatever comes out of a command into one sentence and an exit code."""

import os
import re
import sys
import threading
import traceback
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from flowconv.cli.log import Log, TextLog
from flowconv.cli.plain_values import read_plainly
from flowconv.cli.signals import heard_signals
from flowconv.cli.streams import print_json, standard_streams
from flowconv.errors import FlowconvError, UsageError, did_you_mean, printable, quote, redact

DONE, FAILED, USAGE, INCOMPLETE = 0, 1, 2, 3
# Stopped by Ctrl-C: as for every signal, 128 more than its number.
INTERRUPTED = 130

_STOPPED = "stopped. What was finished is kept; nothing half-written is left."
_NOWHERE: dict[str, str | int | None] = {"uri": None, "line": None, "field": None}


class Commands(TyperGroup):
    """The commands, run so that whatever happens ends in one sentence and an exit code."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **kwargs: Any
    ) -> Any:
        """Run the command that the arguments name; see `click.Command.main`."""
        arguments = sys.argv[1:] if args is None else list(args)
        log = TextLog()
        with standard_streams() as stdout:
            code = DONE
            try:
                code = super().main(arguments, standalone_mode=False, **kwargs) or DONE
            except SystemExit as exc:
                code = exc.code if isinstance(exc.code, int) else FAILED
            except KeyboardInterrupt:
                code = INTERRUPTED
            except Exception as exc:  # noqa: BLE001 - the last resort
                code = _explain(exc, log, arguments, as_json="--json" in arguments)
            stdout.flush()
            if stdout.failure and not stdout.is_closed_pipe:
                reason = stdout.failure.strerror
                log.error(f"what is printed on stdout could not be written ({reason}).")
                code = code if code not in (DONE, INCOMPLETE) else FAILED
        if standalone_mode:
            sys.exit(code)
        return code

    def list_commands(self, _: Any) -> list[str]:
        """Return the names of the commands, which need not be imported for it."""
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, or None."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            read_plainly(command.get_params(ctx))
        return command

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options before the command's name."""
        read_plainly(self.get_params(ctx))
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command by its name."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise UsageError(_unknown("command", args[0], self.list_commands(ctx)))
        return super().resolve_command(ctx, args)


class StoppedAndReported(KeyboardInterrupt):
    """A run was stopped, and what it had done is printed."""


@contextmanager
def explained(log: Log, *, as_json: bool, when_stopped: str = "") -> Iterator[None]:
    """Turn errors and signals into a message on stderr (and JSON on stdout) and an exit code.

    Args:
        log: Where the message goes.
        as_json: Print JSON on stdout.
        when_stopped: What a signal waits for: said at once when it comes.
    """
    hook = threading.excepthook
    with heard_signals(log, when_stopped) as heard:
        try:
            # A thread that fails says so in the same log.
            threading.excepthook = lambda failed: log.error(describe_bug(failed.exc_value))
            yield
        except FlowconvError as error:
            raise typer.Exit(_explain(error, log, as_json=as_json)) from None
        except KeyboardInterrupt as stopped:
            log.error(_STOPPED)
            if as_json and not isinstance(stopped, StoppedAndReported):
                print_json({"error": _STOPPED, **_NOWHERE})
            raise typer.Exit(128 + heard[0] if heard else INTERRUPTED) from None
        finally:
            threading.excepthook = hook


def describe_bug(exc: BaseException | None) -> str:
    """Describe what nobody expected; without its message, which may quote a customer's log."""
    if os.environ.get("FLOWCONV_DEBUG"):
        for line in "".join(traceback.format_exception(exc)).splitlines():
            sys.stderr.write(f"{printable(redact(line))}\n")
    if isinstance(exc, MemoryError):
        return "there is not enough memory. Set --memory-limit or fewer --workers."
    steps = traceback.extract_tb(None if exc is None else exc.__traceback__)
    ours = [step for step in steps if Path(step.filename).is_relative_to(Path(__file__).parents[1])]
    where = f" in {Path(ours[-1].filename).name}, line {ours[-1].lineno}" if ours else ""
    return (
        f"this is a bug of flowconv: {type(exc).__name__}{where}. What was finished is kept. "
        "Please report it to flowconv's maintainers; FLOWCONV_DEBUG=1 shows where it comes from."
    )


def _explain(exc: Exception, log: Log, arguments: Sequence[str] = (), *, as_json: bool) -> int:
    """Say in one sentence what came out of a command, and return the exit code."""
    if isinstance(exc, FlowconvError):
        place = {"uri": exc.uri, "line": exc.line, "field": exc.field}
        message, reason = str(exc), exc.reason
        code = USAGE if isinstance(exc, UsageError) else FAILED
    elif type(exc).__name__ == "NoArgsIsHelpError":
        return USAGE  # The help has been printed.
    elif hasattr(exc, "format_message"):  # click's, which typer has under names of its own
        place = _NOWHERE
        message = reason = _wrong_usage(exc, arguments)
        code = USAGE
    else:
        place = _NOWHERE
        message = reason = describe_bug(exc)
        code = FAILED
    log.error(message)
    if as_json:
        print_json({"error": reason} | place)
    return code


def _wrong_usage(exc: Any, arguments: Sequence[str]) -> str:
    """Put click's errors in one sentence, without values that may be a secret."""
    ctx = exc.ctx
    command = "flowconv" if ctx is None else ctx.command_path
    params = [] if ctx is None else ctx.command.params
    names = [p.name.rstrip("_").upper() for p in params if p.param_type_name == "argument"]
    message = exc.format_message()
    if type(exc).__name__ == "NoSuchOption":
        message = _unknown("option", exc.option_name, [opt for p in params for opt in p.opts])
    elif type(exc).__name__ == "MissingParameter" and exc.param.param_type_name == "argument":
        message = f"{exc.param.name.upper()} is missing. Write {command} {' '.join(names)}."
    elif type(exc).__name__ == "BadParameter" and exc.param is not None:
        message = _wrong_value(exc.param.opts, exc.message, arguments)
    elif message.startswith("Got unexpected extra argument"):
        message = (
            f"there are more arguments than {' and '.join(names) or 'options'}. Quote names with "
            "spaces, name a folder in place of a *, and write options as --name value."
        )
    else:
        message = " ".join(message.split())
    return f"{redact(message)} See {command} --help."


def _wrong_value(names: Sequence[str], message: str, arguments: Sequence[str]) -> str:
    """Say which value of an option is wrong; releases of typer say it differently."""
    text = " ".join(arguments)
    found = re.findall(rf"(?:^|(?<=\s))(?:{'|'.join(map(re.escape, names))})[ =]?(\S*)", text)
    if re.search(r"valid (int|float|number)", message):
        message = f"is not a {'whole ' * ('valid int' in message)}number."
    elif re.search(r"range|greater", message):
        message = "is too small; the least is 0."
    return f"{names[0]}: {quote(found[-1]) if found else 'its value'} {message}"


def _unknown(kind: str, name: str, names: Collection[str]) -> str:
    """Say that there is no command or option of a name, and which one may be meant."""
    # Most commands have --json; in place of it flowconv query has a value.
    meant = did_you_mean(name, names, {"__json": "--output json"} if "--output" in names else {})
    # A name that is like none may be a value, and a secret one.
    shown = meant or re.fullmatch(r"-{0,2}[a-z][a-z-]{0,20}", name)
    said = f"there is no {kind} {name}." if shown else f"there is no such {kind}."
    if not meant and kind == "command":
        return f"{said} There are {', '.join(names)}."
    return f"{said}{meant}"
