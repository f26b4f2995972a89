"""Options of the commands, made from the fields of ConvertOptions and its like.

A field's name, type, default and metadata say everything about its option.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from datetime import date
from functools import wraps
from inspect import Parameter, signature
from textwrap import wrap
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from flowconv.values import parse_storage_options

Command = Callable[..., None]


def takes_options(options_type: Any) -> Callable[[Command], Command]:
    """Give a command an option for each field of a dataclass, in place of `make_options`.

    The command gets a function of this name, which makes the dataclass of what was typed, or raises
    UsageError.
    """
    described = [field for field in fields(options_type) if field.init]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def run(**typed: Any) -> None:
            of_fields = {field.name: typed.pop(field.name) for field in described}

            def make_options() -> Any:
                values = {field.name: _value(field, of_fields[field.name]) for field in described}
                return options_type(**values)

            command(make_options=make_options, **typed)

        parameters: list[Parameter] = []
        for parameter in signature(command).parameters.values():
            if parameter.name == "make_options":
                parameters += map(_parameter, described)
            else:
                parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))
        run.__signature__ = signature(command).replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def choice(choices: Sequence[str], *flags: str, **kwargs: Any) -> Any:
    """Return an option that takes one of several texts: help lists them, the shell completes them.

    Whoever uses the value checks it, so that the library and the command line say the same.
    """
    return typer.Option(
        *flags, metavar="|".join(choices), autocompletion=lambda: list(choices), **kwargs
    )


def option_of(field: "Field[Any]") -> Any:
    """Return the option that a field becomes."""
    annotation, default = _typed(field)
    flags = [field.metadata.get("flag", f"--{field.name.replace('_', '-')}")]
    if "short" in field.metadata:
        flags.append(field.metadata["short"])
    help_ = field.metadata["help"]
    if get_origin(field.type) is Literal:
        return choice(get_args(field.type), *flags, help=help_)
    if annotation is bool:
        if default:
            flags = [f"{flags[0]}/--no-{flags[0].removeprefix('--')}"]
        return typer.Option(*flags, help=help_)
    return typer.Option(*flags, help=help_, metavar=field.metadata.get("metavar", "N"))


def shows_examples(*commands: str, above: str = "") -> Callable[[Command], Command]:
    """Let a command's help end with examples; what stands above them is made by `listed`."""
    # click fills the lines of a paragraph unless it begins so.
    lines = ["\b", "Examples:", *(f"  {command}" for command in commands)]

    def decorate(command: Command) -> Command:
        vars(command)["end_of_help"] = above + "\n".join(lines)
        return command

    return decorate


def end_of_help(command: Command) -> str:
    """Return what `shows_examples` gave a command."""
    return str(vars(command)["end_of_help"])


def listed(heading: str, meanings: Mapping[str, str]) -> str:
    """Return a list of names with their meanings for the end of a command's help."""
    lines = [f"{heading}:"]
    for name, meaning in meanings.items():
        lines += [
            f"  {name}",
            *wrap(meaning, 70, initial_indent=" " * 6, subsequent_indent=" " * 6),
        ]
    return "\b\n" + "\n".join(lines) + "\n\n"


def _parameter(field: "Field[Any]") -> Parameter:
    annotation, default = _typed(field)
    return Parameter(
        field.name,
        Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[annotation, option_of(field)],
    )


def _typed(field: "Field[Any]") -> tuple[Any, Any]:
    """Return the type of an option as it is typed, and its default."""
    default = field.default if field.default_factory is MISSING else field.default_factory()
    default = field.metadata.get("typed", default)
    if default is None:
        return str | None, None
    if isinstance(default, bool | int | float | str):
        return type(default), default
    if isinstance(default, date):
        return str, str(default)
    if isinstance(default, tuple) and default:
        return str, ",".join(map(str, default))
    return list[str], []  # can be repeated


def _value(field: "Field[Any]", typed: Any) -> Any:
    """Return the value of a field; texts of days, sizes and lists are read by the dataclass."""
    if get_origin(field.type) is Mapping:
        return parse_storage_options(typed)
    return tuple(typed) if isinstance(typed, list) else typed


# What many commands take.
LakeArgument = Annotated[
    str,
    typer.Argument(
        metavar="LAKE", help="The lake: the DEST given to flowconv convert.", show_default=False
    ),
]
LakeOptions = Annotated[
    list[str],
    typer.Option(
        "--dest-option",
        metavar="KEY=VALUE",
        help="Storage option of LAKE, as for --source-option of flowconv convert. Can be repeated.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs on stdout.")]
