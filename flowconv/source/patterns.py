"""The globs of --include and --exclude: a path below SOURCE -> whether it is left out.

A glob means what it means in a .gitignore file:

    *.json             any file or folder of such a name, at any depth
    tmp/               any folder of this name, with all that is in it
    2026/*/x.log       one level for each *: a path below SOURCE, since it has a slash within
    **/archive/*.gz    ** stands for any number of levels, or none
    logs/**            all that is in logs/
    part-[0-9]?.gz     one of several characters; any one character

`*`, `?` and `[…]` match no slash. What matches a folder matches all that is in it.
"""

import re
from collections.abc import Iterator, Sequence

from flowconv.errors import UsageError, quote

NOT_INCLUDED = "not --include"


class Patterns:
    """The globs of a run; without any, all objects are chosen.

    Args:
        include: If there are any, one must match an object.
        exclude: None may match it.

    Attributes:
        kinds: By what left-out objects are counted: the first glob that excludes them, or that no
            glob includes them.

    Raises:
        UsageError: A glob is not valid.
    """

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self._include = [_Glob("--include", pattern) for pattern in include]
        self._exclude = [_Glob("--exclude", pattern) for pattern in exclude]
        self.kinds = [f"--exclude {glob.pattern}" for glob in self._exclude]
        if self._include:
            self.kinds.append(NOT_INCLUDED)

    def __bool__(self) -> bool:
        return bool(self.kinds)

    def refuses(self, path: str) -> tuple[str, str] | None:
        """Tell why an object, or everything that a folder may have, is left out.

        Args:
            path: Below the source; a folder's ends with a slash.

        Returns:
            The kind, and the part of the path that decides: the outermost folder with its slash, or
            the whole path. None if it is chosen.
        """
        excluded = [
            (kind, part)
            for glob, kind in zip(self._exclude, self.kinds, strict=False)
            if (part := glob.matched_part(path))
        ]
        if excluded:
            return min(excluded, key=lambda found: len(found[1]))
        if not self._include or any(glob.matched_part(path) for glob in self._include):
            return None
        for folder in _folders(path):
            if not any(glob.may_match_below(folder) for glob in self._include):
                return NOT_INCLUDED, folder
        return None if path.endswith("/") else (NOT_INCLUDED, path)


class _Glob:
    def __init__(self, option: str, pattern: str) -> None:
        self.pattern = pattern
        parts = pattern.removeprefix("./").removeprefix("/").split("/")
        self._folders_only = parts[-1] == ""
        if self._folders_only:
            parts.pop()
        _check(option, pattern, parts)
        if len(parts) == 1 and not pattern.startswith(("/", "./")):
            parts.insert(0, "**")
        self._parts = parts
        try:
            self._matches = re.compile(_regex(parts), re.DOTALL).match
        except re.error:
            raise _usage_error(option, pattern, "a range in […] is not valid") from None
        # The first levels, up to **, can be compared with a folder's.
        self._levels = parts.index("**") if "**" in parts else len(parts) - 1
        self._begins = [
            re.compile(_regex(parts[:n]), re.DOTALL).match for n in range(1, self._levels + 1)
        ]

    def matched_part(self, path: str) -> str | None:
        """Return the outermost folder of a path that matches, or the path itself if it does."""
        for folder in _folders(path):
            if self._matches(folder[:-1]):
                return folder
        is_folder = path.endswith("/")
        matches = not is_folder and not self._folders_only and self._matches(path)
        return path if matches else None

    def may_match_below(self, folder: str) -> bool:
        """Tell whether a path in this folder could match."""
        names = folder[:-1].split("/")
        compared = min(len(names), self._levels)
        if "**" not in self._parts and len(names) > self._levels:
            return False
        return compared == 0 or bool(self._begins[compared - 1]("/".join(names[:compared])))


def _folders(path: str) -> Iterator[str]:
    """Give the folders that a path lies in, and a folder itself, each with its slash."""
    end = path.find("/")
    while end >= 0:
        yield path[: end + 1]
        end = path.find("/", end + 1)


def _check(option: str, pattern: str, parts: Sequence[str]) -> None:
    wrong = None
    if not any(parts):
        wrong = "it is empty"
    elif "://" in pattern:
        wrong = "it is compared with paths below SOURCE, which do not include SOURCE"
    elif pattern.startswith("!"):
        wrong = "! does not negate a pattern; use --include or --exclude"
    elif "" in parts[:-1] or ".." in parts or "." in parts:
        wrong = "paths below SOURCE have no empty part, . or .."
    elif any("**" in part and part != "**" for part in parts):
        wrong = "** must stand alone between slashes"
    elif any(re.sub(r"\[!?\]?[^\]]*\]", "", part).count("[") for part in parts):
        wrong = "a [ is not closed; for the character itself write [[]"
    if wrong:
        raise _usage_error(option, pattern, wrong)


def _usage_error(option: str, pattern: str, wrong: str) -> UsageError:
    return UsageError(
        f"{option}: {quote(pattern)} is not a valid pattern: {wrong}. Write for example '*.json', "
        "'archive/' or 'AWSLogs/*/CloudTrail/**'."
    )


def _regex(parts: Sequence[str]) -> str:
    """Return a regular expression for paths without a slash at their end."""
    text = ""
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            text += ".+" if last else "(?:[^/]*/)*"
        else:
            text += _part_regex(part) + ("" if last else "/")
    return text + r"\Z"


def _part_regex(part: str) -> str:
    """Return a regular expression for one level."""
    text = ""
    for piece in re.findall(r"\[!?\]?[^\]]*\]|\*+|.", part, re.DOTALL):
        if piece[0] == "*":
            text += "[^/]*"
        elif piece == "?":
            text += "[^/]"
        elif piece[0] == "[" and len(piece) > 1:
            text += _class_regex(piece[1:-1])
        else:
            text += re.escape(piece)
    return text


def _class_regex(characters: str) -> str:
    negated = characters.startswith("!")
    characters = characters[negated:]
    # Only the - between two characters keeps its meaning.
    escaped = re.sub(r"([\\\]\[^&~|])", r"\\\1", characters)
    return f"(?!/)[{'^' * negated}{escaped}]"
