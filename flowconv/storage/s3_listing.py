"""A prefix of a bucket -> its keys in order, with many pages under way at once.

A page says how the next one is asked for, so that pages wait for one another. Listings of different
folders do not. A listing that is longer than a page is therefore cut, and the cuts are listed side
by side and given in order:

- The keys of its first page lie in a folder. While its other pages come, the folders that hold it
  are asked what follows it: of a day the other days of its month, the other months, years and
  regions.
- Where a page has had several folders of a level, a cut gets about as many as fill a page.
- A single folder is cut where its next pages would begin if its names went on as in the first one:
  AWS's have a time. A wrong guess costs a request, and no key.
- Cuts that are longer than a page are cut again.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from os.path import commonprefix

from flowconv.storage.s3_pages import ListedKey, Page

# Pages that are under way, or that wait to be taken: some 0.4 MB each.
PAGES_AHEAD = 64

# Pages of a folder are guessed, so many at a time, while few steps are ahead, and as long as most
# guesses are right.
_GUESSES = 4
_FEW_STEPS = 8
_WRONG_GUESSES = 8
_RIGHT_SHARE = 0.75

# So many characters of the names tell how they go on; of the first two, the page's have the same.
_TELLING = 6


@dataclass(slots=True, eq=False, kw_only=True)
class _Range:
    """Keys that are still to be listed: those with a prefix that follow `after`, up to `until`.

    Attributes:
        prefix: It ends with a slash, or is empty.
        after: See above.
        until: See above; None: to the end.
        besides: A folder that is listed elsewhere.
        is_guessed: Whether there may be no keys.
        token: How S3 goes on after the pages that were given.
        answer: Its next page, once it is asked for.
    """

    prefix: str
    after: str = ""
    until: str | None = None
    besides: str | None = None
    is_guessed: bool = False
    token: str | None = None
    answer: "Future[Page] | None" = None

    def keys_of(self, page: Page) -> list[ListedKey]:
        """Return the keys of a page that are in the range."""
        keys = page.keys
        if self.until is not None and keys and keys[-1].key > self.until:
            keys = [entry for entry in keys if entry.key <= self.until]
        if keys and keys[0].key <= self.after:
            keys = [entry for entry in keys if entry.key > self.after]
        if self.besides is not None:
            keys = [entry for entry in keys if not entry.key.startswith(self.besides)]
        return keys

    def ends_with(self, page: Page) -> bool:
        """Tell whether none of its keys follows a page."""
        is_beyond = self.until is not None and bool(page.keys) and page.keys[-1].key > self.until
        return page.token is None or (is_beyond and page.in_order)


@dataclass(slots=True, eq=False, kw_only=True)
class _Cut:
    """A range that is being cut.

    Attributes:
        rest: The range.
        folder: The folder of its page.
        levels: The folders that hold this folder, from the outermost.
        answers: What lies in each of them; one more if the folder is cut itself.
        group: So many of its folders fill most of a page; 0 if it is listed already.
    """

    rest: _Range
    folder: str
    levels: list[str]
    answers: "list[Future[Page]]"
    group: int


_Step = _Range | _Cut | list[ListedKey]


class KeyListing:
    """All keys below a prefix, in the order of their bytes.

    Args:
        start: Begins to list a page; see `Connection.start_list`.
        prefix: It ends with a slash, or is empty.
    """

    def __init__(self, start: Callable[..., "Future[Page]"], prefix: str) -> None:
        self._start = start
        self._steps: list[_Step] = [_Range(prefix=prefix)]
        self._guesses = self._wrong_guesses = 0

    def begin(self) -> None:
        """Ask for the first page."""
        first = self._steps[0]
        assert isinstance(first, _Range)
        self._ask(first)

    def cancel(self) -> None:
        """End what is under way."""
        for step in self._steps:
            for answer in _answers(step):
                answer.cancel()
        self._steps = []

    def pages(self) -> Iterator[list[ListedKey]]:
        """Give the keys, page by page; an error of the clients is raised in its place."""
        try:
            self._advance()
            while self._steps:
                first = self._steps[0]
                if isinstance(first, list):
                    del self._steps[0]
                    # The next pages come while the caller uses this one.
                    self._advance()
                    yield first
                    continue
                for answer in _answers(first):
                    if answer.done():
                        answer.result()
                ahead = self._steps[:PAGES_AHEAD]
                answers = [answer for step in ahead for answer in _answers(step)]
                wait(
                    [answer for answer in answers if not answer.done()],
                    return_when=FIRST_COMPLETED,
                )
                self._advance()
        finally:
            self.cancel()

    def _advance(self) -> None:
        """Ask for pages ahead; put in place of answered steps what follows from the answers."""
        index = 0
        while index < min(len(self._steps), PAGES_AHEAD):
            step = self._steps[index]
            if isinstance(step, _Range) and step.answer is None:
                self._ask(step)
            answers = _answers(step)
            if not isinstance(step, list) and all(a.done() and not a.exception() for a in answers):
                following = _parts(step) if isinstance(step, _Cut) else self._follow(step)
                self._steps[index : index + 1] = following
            else:
                index += 1

    def _ask(self, part: _Range) -> None:
        request = {"prefix": part.prefix}
        if part.token is not None:
            request["continuation-token"] = part.token
        elif part.after:
            request["start-after"] = part.after
        part.answer = self._start(**request)

    def _ask_folders(self, folder: str, after: str = "") -> "Future[Page]":
        request = {"prefix": folder, "delimiter": "/"}
        return self._start(**request, **({"start-after": after} if after else {}))

    def _follow(self, part: _Range) -> list[_Step]:
        """Return a range's next page and what follows it."""
        assert part.answer is not None
        page = part.answer.result()
        keys = part.keys_of(page)
        self._wrong_guesses += part.is_guessed and not keys
        if part.ends_with(page):
            return [keys]
        rest = _Range(
            prefix=part.prefix,
            after=part.after,
            until=part.until,
            besides=part.besides,
            token=page.token,
        )
        if not keys or not page.in_order:
            return [keys, rest]
        folder = _folder(keys)
        levels = _levels(part.prefix, folder)
        inside = {entry.key[len(folder) :].rpartition("/")[0].partition("/")[0] for entry in keys}
        inside.discard("")
        # Fewer than there were: some folders have more keys than others.
        group = len(inside) * 3 // 4 if len(inside) > 1 else 0
        name, slash, _ = keys[-1].key[len(folder) :].partition("/")
        if group == 1 and slash:
            # Each of its folders is listed on its own.
            levels, folder, group = [*levels, folder], f"{folder}{name}/", 0
        if not (levels or group):
            return [keys, rest, *self._guess(rest, keys)]
        rest.after = keys[-1].key
        steps: list[_Step] = [keys]
        if not group:
            inner = _Range(prefix=folder, after=rest.after, until=rest.until)
            steps += [inner, *([] if inside else self._guess(inner, keys))]
            # What is asked for first gets a connection that is open.
            self._ask(inner)
        # The lowest first: what follows mostly lies there.
        answers = [self._ask_folders(level) for level in reversed(levels)][::-1]
        if group:
            answers.append(self._ask_folders(folder, rest.after))
        cut = _Cut(rest=rest, folder=folder, levels=levels, answers=answers, group=group)
        return [*steps, cut]

    def _guess(self, rest: _Range, keys: list[ListedKey]) -> list[_Range]:
        """Cut the rest of a folder where its pages may begin; return what follows the first cut."""
        most_wrong = _WRONG_GUESSES + (1 - _RIGHT_SHARE) * self._guesses
        if len(self._steps) > _FEW_STEPS or self._wrong_guesses > most_wrong:
            return []
        starts = _next_starts(keys, rest.until)
        if not starts:
            return []
        ends = [*starts[1:], rest.until]
        rest.until = starts[0]
        self._guesses += len(starts)
        return [
            _Range(prefix=rest.prefix, after=start, until=end, is_guessed=True)
            for start, end in zip(starts, ends, strict=True)
        ]


class FolderListing:
    """The keys and folders directly in a folder.

    Args:
        start: Begins to list a page; see `Connection.start_list`.
        folder: It ends with a slash, or is empty.
    """

    def __init__(self, start: Callable[..., "Future[Page]"], folder: str) -> None:
        self._start = start
        self._request = {"prefix": folder, "delimiter": "/"}
        self._answer: Future[Page] | None = None

    def begin(self) -> None:
        """Ask for the first page."""
        self._answer = self._start(**self._request)

    def cancel(self) -> None:
        """End what is under way."""
        if self._answer:
            self._answer.cancel()

    def whole(self) -> Page | None:
        """Return the first page if it has come, and has all there is."""
        answer = self._answer
        if answer is None or not answer.done() or answer.cancelled() or answer.exception():
            return None
        page = answer.result()
        return page if page.token is None else None

    def pages(self) -> Iterator[Page]:
        """Give the pages; each is asked for while the caller uses the one before."""
        try:
            while self._answer:
                page = self._answer.result()
                self._answer = None
                if page.token is not None:
                    self._answer = self._start(
                        **self._request, **{"continuation-token": page.token}
                    )
                yield page
        finally:
            self.cancel()


def _answers(step: _Step) -> "list[Future[Page]]":
    if isinstance(step, _Cut):
        return step.answers
    return [step.answer] if isinstance(step, _Range) and step.answer else []


def _parts(cut: _Cut) -> list[_Step]:
    """Return the parts of a range that is cut, in order."""
    rest, folder = cut.rest, cut.folder
    pages = [answer.result() for answer in cut.answers]
    levels = list(zip(cut.levels, pages, strict=False))
    parts: list[_Step] = []
    # Of a level with more than a page of entries the first ones do not tell what follows.
    for number, (level, page) in enumerate(levels):
        if page.token is not None:
            levels = levels[:number]
            beyond = _Range(prefix=level, after=rest.after, until=rest.until)
            if not cut.group:
                # All keys up to the first `~` are the folder's.
                beyond.after, beyond.besides = max(rest.after, f"{folder}~"), folder
            parts.append(beyond)
            break
    else:
        if cut.group:
            inner = _Range(prefix=folder, after=rest.after, until=rest.until)
            parts += _groups(inner, pages[-1], cut.group)
    for _, page in reversed(levels):
        parts += _following(rest, page)
    return parts


def _following(rest: _Range, page: Page) -> Iterator[_Step]:
    """Give a folder's entries that follow those of the rest's first page: folders, and keys."""
    last, until = rest.after, rest.until
    entries: list[ListedKey | str] = sorted([*page.keys, *page.prefixes], key=_key)
    for entry in entries:
        key = _key(entry)
        if key <= last or (until is not None and key > until):
            continue
        yield _Range(prefix=entry) if isinstance(entry, str) else [entry]


def _groups(inner: _Range, page: Page, group: int) -> Iterator[_Range]:
    """Cut a folder, before some of its folders."""
    after, until = inner.after, inner.until
    folders = [name for name in page.prefixes if name > after]
    for name in folders[::group]:
        # The last key that may come before `name/…`.
        before = f"{name[:-1]}."
        if after < before and (until is None or before < until):
            yield _Range(prefix=inner.prefix, after=after, until=before)
            after = before
    yield _Range(prefix=inner.prefix, after=after, until=until)


def _next_starts(keys: list[ListedKey], until: str | None) -> list[str]:
    """Return where the next pages may begin: names go on as numbers of their characters do."""
    first, last = keys[0].key, keys[-1].key
    shared = len(commonprefix([first, last]))  # noqa: RUF071  # Of characters.
    start = max(0, shared - 2)
    telling = [entry.key[start : start + _TELLING] for entry in keys]
    digits = sorted({character for text in telling for character in text})
    value = {character: number for number, character in enumerate(digits)}

    def number(text: str) -> int:
        found = 0
        for place in range(_TELLING):
            found = found * len(digits) + (value[text[place]] if place < len(text) else 0)
        return found

    def text(number: int) -> str:
        places = [number // len(digits) ** place % len(digits) for place in range(_TELLING)]
        return "".join(digits[place] for place in reversed(places))

    end = number(telling[-1])
    # A little less than a page, so that few pages are followed by a short one.
    step = (end - number(telling[0])) * 3 // 4
    numbers = [end + step * place for place in range(1, _GUESSES + 1)] if step > 0 else []
    starts = [first[:start] + text(found) for found in numbers if found < len(digits) ** _TELLING]
    return [name for name in starts if last < name and (until is None or name < until)]


def _levels(prefix: str, folder: str) -> list[str]:
    """Return the folders from a prefix down to the one that holds a folder."""
    names = folder[len(prefix) :].split("/")[:-1]
    return [prefix + "".join(f"{name}/" for name in names[:depth]) for depth in range(len(names))]


def _folder(keys: list[ListedKey]) -> str:
    """Return the folder that holds all keys of a page."""
    above, slash, _ = commonprefix([keys[0].key, keys[-1].key]).rpartition("/")  # noqa: RUF071  # Cut at a slash.
    return str(above + slash)


def _key(entry: ListedKey | str) -> str:
    return entry if isinstance(entry, str) else entry.key
