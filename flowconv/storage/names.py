r"""Name of a file or object -> text that can be shown, stored and compared; and back.

File systems allow any bytes in a name, and S3 any character. Only bytes that are not UTF-8 and
characters that break lines or control a terminal are percent-encoded:

    name           text
    caf\xe9.log     caf%E9.log       bytes that are not UTF-8
    a\nb.log        a%0Ab.log        control characters, and those that change the text's direction
    caf%E9.log     caf%25E9.log     a % that looks like one of these escapes
    day%3D14       day%3D14         any other %

Each name has one text and each text one name, in every locale. Texts go into reports, the ledger,
quarantine and `source_uri`; names go to the file system and to S3. In Python a name is a `str`,
with surrogate escapes for bytes that are not UTF-8.
"""

import os
import re

# Listed here, not taken from Python's Unicode tables: a name must keep its text in later releases.
_ESCAPED = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
    # A % that looks like an escape.
    "|%(?=[01][0-9A-F]|7F|25|[89A-F][0-9A-F])"
)
_ESCAPE = re.compile(rb"%([01][0-9A-F]|7F|25|[89A-F][0-9A-F])")


def to_text(name: str) -> str:
    """Return a name's text."""
    # Most names.
    if name.isascii() and name.isprintable() and "%" not in name:
        return name
    return _ESCAPED.sub(_percent_encoded, name)


def from_text(text: str) -> str:
    """Return the name of a text."""
    if "%" not in text:
        return text
    data = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), text.encode(*_UTF8))
    return data.decode(*_UTF8)


def is_plain(name: str) -> bool:
    """Tell whether a name's text escapes nothing but %."""
    return not _ESCAPED.search(name.replace("%", ""))


def from_system(name: str) -> str:
    """Return a name that came from the system, such as a file's or an argument's, in any locale."""
    if name.isascii():
        return name
    try:
        return os.fsencode(name).decode(*_UTF8)
    except UnicodeEncodeError:  # From Python code, and not in the locale's encoding.
        return name


def to_system(name: str) -> str:
    """Return a name for Python's file functions, in any locale."""
    return name if name.isascii() else os.fsdecode(name.encode(*_UTF8))


_UTF8 = ("utf-8", "surrogateescape")


def _percent_encoded(match: re.Match[str]) -> str:
    # Half a surrogate pair that is not an escaped byte has three bytes.
    character = match[0]
    errors = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", errors))
