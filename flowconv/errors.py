"""Everything that flowconv raises, by what the caller can do about it.

    FlowconvError
    ├── UsageError              an argument that cannot be: change it
    │   └── WrongTypeError      one of another type; it is also a TypeError
    ├── StorageError            a bucket or folder that does not answer as it should
    │   └── FolderError         one folder of many; a run names it and goes on
    ├── LakeError               the destination is not a lake, or not one of these options
    ├── CatalogError            a catalog of other engines that refuses, or does not answer
    ├── KernelError             flowconv's compiled part is missing or does not load
    ├── ParseError              a line that does not fit, where such lines are not set aside
    └── UnreadableObjectError   one object; a run names it, converts the others and goes on
        ├── FetchError          it could not be fetched: may pass if tried again
        ├── CorruptObjectError  its gzip or Parquet data is damaged or ends early
        └── FormatError         its fields are not known, or its shape is not

A message says where, what was found, what was expected and what to do. Logs hold customers'
addresses, so a message quotes at most one token, cut to 40 characters, and never a line.

Names and values come from others: what is shown of them goes through `printable`, and messages
through `redact`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Self


class FlowconvError(Exception):
    """Base of all errors that flowconv raises on purpose.

    Attributes:
        uri: The object, file or bucket concerned, if there is one.
        line: The line in it, counted from 1, if there is one.
        field: AWS's name of the field concerned, if there is one.
        unanswered: No answer came, or not a whole one: the network may be cut.
    """

    unanswered = False

    def __init__(
        self,
        message: str,
        *,
        uri: str | None = None,
        line: int | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(redact(message))
        self.at(uri, line)
        self.field = field

    def at(self, uri: str | None, line: int | None = None) -> Self:
        """Set the place, where only the caller knows it; return the error.

        In an `except` block call it, then `raise`.
        """
        self.uri = uri if uri is None else _redact_urls(uri)
        self.line = line
        return self

    @property
    def reason(self) -> str:
        """The message alone, for a report that names the place in a column of its own."""
        return str(self.args[0])

    @property
    def reason_with_line(self) -> str:
        """The message and the line, for a report that names the object in a column of its own."""
        return self.reason if self.line is None else f"line {self.line}: {self.reason}"

    def __str__(self) -> str:
        """Say the place first: `uri: line 41: message`; printable, on one line."""
        place = f"{self.uri}: " if self.uri else ""
        return printable(place + self.reason_with_line)


class UsageError(FlowconvError):
    """An argument or option that cannot be, or that does not go with another."""


class WrongTypeError(UsageError, TypeError):
    """An argument of another type than it can have, such as an account that is a number."""


class StorageError(FlowconvError):
    """A bucket or folder is missing, refuses access, is full, or does not answer."""


class FolderError(StorageError):
    """One folder or prefix cannot be listed, such as one that is denied; others can."""


class LakeError(FlowconvError):
    """The destination is not a lake of flowconv, or was made with other options."""


class CatalogError(FlowconvError):
    """A catalog has another table in the way, refuses a change, or does not answer."""


class EngineError(FlowconvError):
    """The engine that does a run's tasks failed: its scheduler, or a worker that differs."""


class KernelError(FlowconvError):
    """The library that flowconv compiles at its installation is missing, or does not load."""


class ParseError(FlowconvError):
    """A line does not fit its header, and the caller asked to stop there."""


class UnreadableObjectError(FlowconvError):
    """One object cannot be read whole; nothing of it is converted."""

    def to_keep(self) -> Self:
        """Drop the frames and causes, so that the error can be kept for long; return it.

        They hold on to the reader that failed, which has megabytes of buffers.
        """
        self.__cause__ = self.__context__ = None
        return self.with_traceback(None)


class FetchError(UnreadableObjectError):
    """The object could not be fetched, after retries; trying again later may help."""


class CorruptObjectError(UnreadableObjectError):
    """The object's gzip or Parquet data is damaged or ends early."""


class FormatError(UnreadableObjectError):
    """The object's fields are not known, or it is not a flow log.

    Attributes:
        shape: The shape that was recognised, if one was.
    """

    shape: str | None = None

    def __init__(
        self,
        message: str,
        *,
        uri: str | None = None,
        line: int | None = None,
        field: str | None = None,
        shape: str | None = None,
    ) -> None:
        super().__init__(message, uri=uri, line=line, field=field)
        self.shape = shape

    def at(self, uri: str | None, line: int | None = None, shape: str | None = None) -> Self:
        """Set the place, and the shape if it is known by now; return the error."""
        self.shape = shape or self.shape
        return super().at(uri, line)


def quote(token: bytes | str) -> str:
    """Return one token of a log as a message may show it: printable, at most 40 characters."""
    text = token.decode("utf-8", "backslashreplace") if isinstance(token, bytes) else token
    # One character may be shown as ten: `\\U0001f4a9`. The two quotes do not count.
    begin = text[: _MOST_SHOWN + 1]
    if len(repr(begin)) <= _MOST_SHOWN + 2:
        return repr(begin)
    while len(repr(begin)) > _MOST_SHOWN + 1:
        begin = begin[:-1]
    return repr(begin + "…")


_MOST_SHOWN = 40


def did_you_mean(name: str, names: Iterable[str], others: Mapping[str, str] | None = None) -> str:
    """Return ` Did you mean …?` for an unknown name; empty if no known name is like it.

    Args:
        name: What was found.
        names: What there is.
        others: What people write -> what they mean, where the two are not alike.
    """
    from difflib import get_close_matches

    plain = name.lower().replace("-", "_")
    by_plain = {known.lower().replace("-", "_"): known for known in names}
    meant = (others or {}).get(plain)
    if meant is None and (close := get_close_matches(plain[:100], by_plain, 1)):
        meant = by_plain[close[0]]
    return f" Did you mean {meant}?" if meant else ""


def printable(text: str) -> str:
    """Return a text on one line, with escapes for what would command or confuse a terminal.

    These are control characters, newlines, what reverses or hides text, and bytes that are no
    UTF-8. A text that is printable already comes back as it is.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def redact(text: str) -> str:
    """Return a text without the secrets that options, URLs and clients' errors may hold."""
    return re.sub(_SECRET, r"\g<name>…", _redact_urls(text), flags=_FLAGS)


def _redact_urls(text: str) -> str:
    return re.sub(_URL_SECRET, "…", text, flags=_FLAGS)


# Compiled by the first call, and kept by `re`: this takes 1.4 ms, which most runs need not.
_FLAGS = re.VERBOSE | re.IGNORECASE

# The login of a URL, and what signs one. A secret key may have a slash, a port is no password.
_URL_SECRET = r"""
      (?<=://)[^/\s:@'"<>]*:(?!\d+(?:/|$))[^\s@'"<>]*(?=@)
    | (?<=://)[^/\s:@'"<>]+(?=@)
    | (?<=[a-z0-9]:/)(?!/)[^/\s:@'"<>]*:[^\s@'"<>]*(?=@)  # a slash too few, or two
    | (?<=\bs3:)(?!/)[^\s@'"<>]*(?=@)
    | \bA[KS]IA[A-Z0-9]{12,}:[^\s@'"<>]+(?=@)
    | (?<=Amz-Signature=)[^\s&'"<>]+ | (?<=Amz-Credential=)[^\s&'"<>]+
    | (?<=Amz-Security-Token=)[^\s&'"<>]+ | (?<=[?&]Signature=)[^\s&'"<>]+
"""

# Headers, options and the like: `name=value`, `name:value` and `'name': 'value'`.
_SECRET = r"""
    (?P<name>
        \b(?:proxy-)?authorization["']?\s*[:=]\s*(?:b?["'])?
        (?:(?:AWS4-HMAC-SHA256|AWS|Basic|Bearer)\s+)? (?=[^"'\r\n<>]+(?P<header>))
      | x-amz-security-token\s*:\s*
      | \b(?:x-amz-|aws_?|session_?)*
        (?:secret|security-token|token|password|passwd)(?:_?access_?key)?
        (?: ["']\s*[:=]\s*b?["'] | \s*=\s* | :(?=\S) | > )
    )
    (?!…)
    (?(header) [^"'\r\n<>]+ | [^\s&"'<>]+ )
"""
