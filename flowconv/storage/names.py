r"""Names of files and objects as text that can be shown, stored and compared everywhere.

File systems take any bytes for a name, and S3 any character. What is no UTF-8, breaks lines or
commands a terminal is percent-encoded, and only that:

    caf\xe9.log     caf%E9.log       bytes that are no UTF-8
    a\nb.log        a%0Ab.log        control characters, and those that turn the writing's direction
    caf%E9.log     caf%25E9.log     a % that would be taken for one of these
    day%3D14       day%3D14         any other

So each name has one text, each text one name, whatever the locale. Texts go into reports, the
ledger, quarantine and `source_uri`; names go to the file system and to S3. Within Python a name is
a `str` in which bytes that are no UTF-8 are surrogate escapes.
"""

import os
import re

# Fixed, not asked of Python's Unicode tables: a later release must not give a name another text.
_ESCAPED = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
    # A % before what could be one of their bytes.
    "|%(?=[01][0-9A-F]|7F|25|[89A-F][0-9A-F])"
)
_ESCAPE = re.compile(rb"%([01][0-9A-F]|7F|25|[89A-F][0-9A-F])")


def to_text(name: str) -> str:
    """Return a name's text."""
    # Most names end here.
    if name.isascii() and name.isprintable() and "%" not in name:
        return name
    return _ESCAPED.sub(_percent_encoded, name)


def from_text(text: str) -> str:
    """Return the name that has a text."""
    if "%" not in text:
        return text
    data = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), text.encode(*_UTF8))
    return data.decode(*_UTF8)


def is_plain(name: str) -> bool:
    """Tell whether nothing in a name is escaped in its text but %."""
    return not _ESCAPED.search(name.replace("%", ""))


def from_system(name: str) -> str:
    """Return a name that the system gave, such as a file's or an argument; in any locale."""
    if name.isascii():
        return name
    try:
        return os.fsencode(name).decode(*_UTF8)
    except UnicodeEncodeError:  # A caller wrote it, and the locale's encoding lacks it.
        return name


def to_system(name: str) -> str:
    """Return a name as Python's functions on files want it, in any locale."""
    return name if name.isascii() else os.fsdecode(name.encode(*_UTF8))


_UTF8 = ("utf-8", "surrogateescape")


def _percent_encoded(match: re.Match[str]) -> str:
    # Half a surrogate pair, which is no byte of a name, gets its three bytes.
    character = match[0]
    errors = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", errors))
