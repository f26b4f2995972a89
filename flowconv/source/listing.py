"""Stage 1, prefix -> objects: lists them, with what their keys say.

AWS delivers to one of two layouts, plain or Hive-compatible, below a prefix of the user's choice:

    AWSLogs/[o-organisation/]{account}/vpcflowlogs/{region}/YYYY/MM/DD/[HH/]{name}
    AWSLogs/[o-organisation/]aws-account-id={account}/aws-service=vpcflowlogs/
        aws-region={region}/year=YYYY/month=MM/day=DD/[hour=HH/]{name}

with names `{account}_vpcflowlogs_{region}_{fl-id}_{YYYYMMDDTHHmmZ}_{hash}.log.gz`
(https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-s3-path.html). Transit gateway logs
use the same layouts. Objects may be copied elsewhere, so any key is accepted; facts that it lacks
are None.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import NamedTuple

from flowconv.errors import FlowconvError, FolderError
from flowconv.source.keys import (
    SERVICE,
    KeyFacts,
    LogObject,
    folder_and_name,
    parse_key,
    parse_name,
    period_of,
    service_of,
)
from flowconv.source.selection import ALL, Selection
from flowconv.storage.interface import (
    BegunListing,
    Folder,
    Storage,
    StoredFile,
    UnreadableEntry,
)
from flowconv.storage.names import from_system, to_text


class DayEnd(NamedTuple):
    """In a listing: the objects of this account, region and day have all been given.

    An object that names them elsewhere than in AWS's layout may follow all the same.
    """

    account_id: str | None
    region: str | None
    day: date | None


def list_objects(
    storage: Storage,
    selection: Selection = ALL,
    left_out: Counter[str] | None = None,
    unreadable: dict[str, str] | None = None,
) -> Iterator[LogObject]:
    """Do as `list_with_day_ends`, and give the objects alone."""
    listed = list_with_day_ends(storage, selection, left_out, unreadable)
    return (item for item in listed if isinstance(item, LogObject))


def list_with_day_ends(
    storage: Storage,
    selection: Selection = ALL,
    left_out: Counter[str] | None = None,
    unreadable: dict[str, str] | None = None,
) -> Iterator[LogObject | DayEnd]:
    """List the objects of flow logs in a storage, always in the same order.

    Within AWS's layout folders are listed level by level, so that other services and days are
    skipped. Below it, and outside it, everything is listed at once.

    Links are followed, and each object is listed once:

    - A link to a place below the root is ignored.
    - Of several links to a place outside the root, the first in the order counts.
    - The key is the path with the link's name, not its target.

    Args:
        storage: A bucket, a prefix or folder at any level, or one object. Account, region and day
            in its root count too.
        selection: Which objects are listed.
        left_out: Counts what is left out, by kind:
            `other_services`: folders of other AWS services; what is in them is not counted.
            `lakes`: folders with a folder `_flowconv`; as before.
            `not_logs`: folder markers, AWS's test object, names that begin with `_` or `.`.
            `undated`: with since or until, objects whose keys have no day.
            The patterns' kinds; a folder that is left out whole counts once.
        unreadable: Filled with uri -> reason for denied folders, dangling links and the like.

    Yields:
        Objects, and in S3 the ends of days as soon as they are known: in AWS's layout, if no folder
        is left that may be of the same account, region and day. Memory is bounded, except for the
        targets of links.

    Raises:
        FolderError: A folder or entry cannot be read, and `unreadable` is not given.
        StorageError: The storage does not answer.
    """
    left_out = Counter() if left_out is None else left_out
    if selection.patterns:
        # A pattern that matches nothing is reported, with 0.
        left_out.update(dict.fromkeys(selection.patterns.kinds, 0))
    listing = _Listing(
        storage=storage, selection=selection, left_out=left_out, unreadable=unreadable
    )
    # In S3 the first requests are under way from here on.
    places = [_Place("", 0)]
    listing.begin(places)
    return listing.walk(places)


def choose_listed(
    storage: Storage, files: Iterable[StoredFile], selection: Selection, left_out: Counter[str]
) -> Iterator[LogObject | DayEnd]:
    """Choose among files that were listed elsewhere, as `list_with_day_ends` does.

    Args:
        storage: Where they are.
        files: All files, in the order of their paths' bytes.
        selection: Which objects are chosen.
        left_out: See `list_with_day_ends`.
    """
    if selection.patterns:
        left_out.update(dict.fromkeys(selection.patterns.kinds, 0))
    listing = _Listing(storage=storage, selection=selection, left_out=left_out, unreadable=None)
    root = _Place("", 0)
    last: DayEnd | None = None
    for log_object in listing._chosen_without_lakes(files, root):
        day = day_of(log_object)
        if last and last != day and None not in last:
            yield last
        last = day
        yield log_object
    if last and None not in last:
        yield last


# Outside AWS's layout, folders are listed one by one down to this many levels, with at most this
# many folders in each: a request for each of a million folders would take too long.
_LEVELS_OUTSIDE = 4
_FOLDERS_OUTSIDE = 100

# In S3 as many folders are being listed, or have been and are yet to be walked through.
_PLACES_AHEAD = 32

_TEST_OBJECT = "aws-logs-write-test"

# Every lake has this folder; nothing else does.
LAKE_FOLDER = "_flowconv"


class _Place(NamedTuple):
    """A folder to be listed.

    Attributes:
        path: Below the root, with links as they were followed.
        depth: Levels outside AWS's layout.
        real: Its absolute path without links, if it was reached by a link; else empty.
    """

    path: str
    depth: int
    real: str = ""


class _Above(NamedTuple):
    """The folder of a file: what all of its files' paths, uris and keys begin with.

    Attributes:
        path: With a slash at its end, if it is not the root.
        text: The path's text.
        uri: With a slash at its end.
        facts: What the keys' folder says.
    """

    path: str | None
    text: str
    uri: str
    facts: KeyFacts


_NOWHERE = _Above(None, "", "", KeyFacts())

_Entry = StoredFile | Folder | UnreadableEntry


@dataclass(slots=True)
class _Begun:
    """The listing of a folder, under way.

    Attributes:
        entries: All of them.
        below: The folders to be listed next, once they are known.
    """

    entries: Iterator[_Entry]
    below: list[_Place] | None = None

    def places(self, choose: Callable[[list[Folder]], list[_Place]]) -> list[_Place]:
        """Return the folders to be listed next; none as long as they are not known."""
        if self.below is None and isinstance(self.entries, BegunListing):
            entries = self.entries.known()
            if entries is not None:
                self.below = choose([entry for entry in entries if isinstance(entry, Folder)])
        return self.below or []


@dataclass(slots=True, kw_only=True)
class _Listing:
    """A listing under way.

    Attributes:
        storage: See `list_objects`, as of the next three.
        selection: Which objects are listed.
        left_out: Counts.
        unreadable: Reasons.
        since: First day.
        until: Last day.
        has_days: Whether there is one of the two.
        above: The folder of the last file.
        targets: Places outside the root that links have led to.
        lake: Folder of the lake that the listing is in.
        refused: The pattern and folder that were counted last.
        begun: Path -> listing of a folder that the walk will come to, in S3.
        first: The first of all files, in S3 as long as it has not been used.
        left: Account -> folders that the walk will come to, in S3; None for those of any.
    """

    storage: Storage
    selection: Selection
    left_out: Counter[str]
    unreadable: dict[str, str] | None
    since: date = field(init=False)
    until: date = field(init=False)
    has_days: bool = field(init=False)
    above: _Above = _NOWHERE
    targets: set[str] = field(default_factory=set)
    lake: str | None = None
    refused: tuple[str, str] | None = None
    begun: dict[str, _Begun] = field(default_factory=dict)
    first: Iterator[StoredFile] | None = None
    left: defaultdict[str | None, set[_Place]] = field(default_factory=lambda: defaultdict(set))

    def __post_init__(self) -> None:
        self.since = self.selection.since or date.min
        self.until = self.selection.until or date.max
        self.has_days = (self.since, self.until) != (date.min, date.max)

    def walk(self, places: list[_Place]) -> Iterator[LogObject | DayEnd]:
        """List the chosen objects of the places, the last of them first."""
        # No recursion: folders may be nested thousands deep.
        try:
            while places:
                self._begin_ahead(places)
                place = places.pop()
                if not self.storage.is_local:
                    self.left[self._facts(place.path).account_id].discard(place)
                if self._is_wanted(place):
                    below: list[_Place] = []
                    try:
                        listed = self._list(place, below)
                        yield from self._with_day_ends(place, listed)
                    except FolderError as error:
                        self._note(error)
                    places += reversed(below)
                    if not self.storage.is_local:
                        for folder in filter(self._may_be_wanted, below):
                            self.left[self._facts(folder.path).account_id].add(folder)
                self._begin_down_to_first()
        finally:
            for begun in self.begun.values():
                if isinstance(begun.entries, BegunListing):
                    begun.entries.close()

    def begin(self, places: Sequence[_Place]) -> None:
        """Begin to list the root; in S3, to look for the first of all files as well."""
        self._begin_ahead(places)
        root = places[-1]
        if not self.storage.is_local and self._may_be_wanted(root) and not self._is_whole(root):
            self.first = self.storage.list_first()

    def _begin_down_to_first(self) -> None:
        """Begin to list all folders that hold the first file; else each waits for the one above.

        Only within AWS's layout: there no answer decides how a folder is listed.
        """
        if self.first is None:
            return
        try:
            path = next(self.first).path
        except (StopIteration, FlowconvError):
            path = ""
        self.first = None
        above = _Place("", 0)
        down: list[_Place] = []
        for name in path.split("/")[:-1]:
            place = _Place(f"{above.path}{name}/", 0)
            if not self._may_be_wanted(place):
                break
            # The walk itself begins to list what is directly below the root.
            if above.path and place.path not in self.begun and _is_in_layout(self._folder(above)):
                down.append(place)
            if self._is_whole(place):
                break
            above = place
        # All wait for the last, which has the objects: it gets a connection that is open.
        for place in reversed(down):
            self.begun[place.path] = _Begun(self._begin(place))

    def _begin_ahead(self, places: Sequence[_Place]) -> None:
        """Begin to list what the walk comes to next, in its order; the last place is the next."""
        if self.storage.is_local:
            return
        rest = list(places[-_PLACES_AHEAD:])
        ahead = 0
        while rest and ahead < _PLACES_AHEAD:
            place = rest.pop()
            begun = self.begun.get(place.path)
            if begun is None:
                if not self._may_be_wanted(place):
                    continue
                begun = self.begun[place.path] = _Begun(self._begin(place))
            ahead += 1
            rest += reversed(begun.places(partial(self._below, place)))

    def _begin(self, place: _Place) -> Iterator[_Entry]:
        # Each call is a round trip: list as much as possible at once.
        if self._is_whole(place):
            return self.storage.list_files(place.path)
        return self.storage.list_folder(place.path)

    def _is_whole(self, place: _Place) -> bool:
        """Tell whether a folder is listed with all that is below it."""
        if self.storage.is_local:
            return False
        folder = self._folder(place)
        first, last = period_of(folder)
        wanted_whole = self.since <= first and last <= self.until
        is_dated = (first, last) != (date.min, date.max)
        return (wanted_whole and (bool(service_of(folder)) or is_dated)) or (
            place.depth > _LEVELS_OUTSIDE
        )

    def _is_wanted(self, place: _Place) -> bool:
        """Tell whether a folder may have chosen objects, and count it if it has none."""
        if self._is_within_lake(self._uri(place)):
            return False
        if place.path and self._is_refused(place.path):
            return False
        if service_of(self._folder(place)) not in (None, SERVICE):
            self.left_out["other_services"] += 1
            return False
        return self._may_be_wanted(place)

    def _may_be_wanted(self, place: _Place) -> bool:
        """Tell whether a folder may have chosen objects."""
        patterns = self.selection.patterns
        folder = self._folder(place)
        if self._is_within_lake(self._uri(place)) or service_of(folder) not in (None, SERVICE):
            return False
        if place.path and patterns and patterns.refuses(to_text(place.path)):
            return False
        first, last = period_of(folder)
        return first <= self.until and self.since <= last

    def _list(self, place: _Place, below: list[_Place]) -> Iterator[LogObject]:
        """Give the objects of a folder; add the folders to be listed next to `below`."""
        begun = self.begun.pop(place.path, None)
        entries = begun.entries if begun else self._begin(place)
        if self._is_whole(place):
            yield from self._chosen_without_lakes(entries, place)
            return
        folders = []
        for entry in entries:
            if isinstance(entry, Folder):
                folders.append(entry)
            elif log_object := self._chosen(entry, place):
                yield log_object
        if _is_lake(folders):
            self.left_out["lakes"] += 1
        below += self._below(place, folders)

    def _with_day_ends(
        self, place: _Place, listed: Iterator[LogObject]
    ) -> Iterator[LogObject | DayEnd]:
        """Give a folder's objects, and the ends of the days that are in no other folder."""
        if not self._is_whole(place) or self._may_share_days(place):
            yield from listed
            return
        last: DayEnd | None = None
        end: DayEnd | None = None
        for log_object in listed:
            day = day_of(log_object)
            if day != last:
                if end:
                    yield end
                end = self._end_of(log_object, place)
            yield log_object
            last = day
        if end:
            yield end

    def _end_of(self, log_object: LogObject, place: _Place) -> DayEnd | None:
        """Return the end of an object's day; None if its folders do not name it."""
        facts = self._facts(log_object.path.rpartition("/")[0])
        end = DayEnd(facts.account_id, facts.region, facts.day)
        is_named = None not in end and end == day_of(log_object)
        return end if is_named and end.account_id == self._facts(place.path).account_id else None

    def _may_share_days(self, place: _Place) -> bool:
        """Tell whether a folder that is still to be listed may have the same days."""
        facts, (first, last) = self._facts(place.path), period_of(self._folder(place))
        others = self.left[facts.account_id] if facts.account_id else ()
        return bool(self.left[None]) or any(
            (facts.region is None or self._facts(other.path).region in (None, facts.region))
            and period_of(self._folder(other))[0] <= last
            and first <= period_of(self._folder(other))[1]
            for other in others
        )

    def _facts(self, path: str) -> KeyFacts:
        """Return what a folder's path says."""
        return parse_key(f"{self.storage.key(path).removesuffix('/')}/")

    def _below(self, place: _Place, folders: Sequence[Folder]) -> list[_Place]:
        """Return the places to be listed of a folder's folders."""
        if _is_lake(folders):
            return []
        folder = self._folder(place)
        in_layout = _is_in_layout(folder)
        depth = 0 if in_layout else place.depth + 1
        if not in_layout and len(folders) > _FOLDERS_OUTSIDE:
            depth = _LEVELS_OUTSIDE + 1
        reals = ((entry, self._real(entry, place)) for entry in folders)
        return [_Place(entry.path, depth, real) for entry, real in reals if real is not None]

    def _chosen_without_lakes(self, files: Iterable[_Entry], place: _Place) -> Iterator[LogObject]:
        """Give the chosen objects of a listing of all files in order."""
        for file in files:
            assert isinstance(file, StoredFile)
            if not self._is_of_lake(file.path) and (log_object := self._chosen(file, place)):
                yield log_object

    def _chosen(self, entry: StoredFile | UnreadableEntry, place: _Place) -> LogObject | None:
        """Return the entry's object, if it is chosen."""
        real = "" if isinstance(entry, UnreadableEntry) else self._real(entry, place)
        if real is None:
            return None
        uri, path, facts, name = self._named(entry.path)
        uri = to_text(real) if real else uri
        if self._is_within_lake(uri) or self._is_refused(entry.path or name):
            return None
        if path and (name in ("", _TEST_OBJECT) or name.startswith(("_", "."))):
            self.left_out["not_logs"] += 1
            return None
        if facts.service not in (None, SERVICE):
            self.left_out["other_services"] += 1
            return None
        named = parse_name(name)
        day = facts.day or (named.time and named.time.date())
        if self.has_days and not self._is_of_wanted_day(day):
            return None
        if isinstance(entry, UnreadableEntry):
            self._note(FolderError(entry.reason, uri=uri))
            return None
        return LogObject(
            uri=uri,
            path=path,
            size_bytes=entry.size_bytes,
            etag=entry.etag,
            account_id=facts.account_id or named.account_id,
            region=facts.region or named.region,
            flow_log_id=named.flow_log_id,
            day=day,
            time=named.time,
        )

    def _named(self, path: str) -> tuple[str, str, KeyFacts, str]:
        """Return an entry's uri, its path's text, what its folder says, and its name's text."""
        if not path:  # The root is this object.
            folder, _, name = self.storage.key("").rpartition("/")
            return self.storage.uri(""), "", parse_key(f"{folder}/"), name
        name = path.rpartition("/")[2]
        folder = path.removesuffix(name)
        above = self.above
        if folder != above.path:
            # Of a path that ends with a slash, some storages leave it out.
            uri, key = (
                of(f"{folder}-").removesuffix("-") for of in (self.storage.uri, self.storage.key)
            )
            self.above = above = _Above(folder, to_text(folder), uri, parse_key(key))
        text = to_text(name)
        return above.uri + text, above.text + text, above.facts, text

    def _is_of_wanted_day(self, day: date | None) -> bool:
        if day is None:
            self.left_out["undated"] += 1
        return day is not None and self.since <= day <= self.until

    def _real(self, entry: StoredFile | Folder, place: _Place) -> str | None:
        """Return an entry's absolute path without links; "" if it was reached by no link.

        None if it is listed elsewhere: at its own path below the root, or by an earlier link.
        """
        if not entry.target and not place.real:
            return ""
        real = entry.target or f"{place.real}/{_name(entry.path)}"
        root = self.storage.location("")
        if f"{real}/".startswith(f"{from_system(root).rstrip('/')}/"):
            return None
        if isinstance(entry, Folder) and not entry.target:
            return real
        if real in self.targets:
            return None
        self.targets.add(real)
        return real

    def _note(self, error: FolderError) -> None:
        if self.unreadable is None:
            raise error
        self.unreadable[error.uri or ""] = error.reason

    def _uri(self, place: _Place) -> str:
        return to_text(place.real) if place.real else self.storage.uri(place.path).rstrip("/")

    def _folder(self, place: _Place) -> str:
        """Return a folder's whole path, with a slash at each end."""
        return folder_and_name(f"{self.storage.key(place.path).removesuffix('/')}/")[0]

    def _is_within_lake(self, uri: str) -> bool:
        lake = self.selection.leave_out
        return lake is not None and uri.startswith(lake) and f"{uri}/".startswith(f"{lake}/")

    def _is_of_lake(self, path: str) -> bool:
        """Tell whether a file belongs to a lake, in a listing of all files in order.

        A lake's `_flowconv` comes before its tables: `_` sorts before small letters.
        """
        if self.lake is not None and path.startswith(self.lake):
            return True
        above, own, _ = f"/{path}".partition(f"/{LAKE_FOLDER}/")
        self.lake = f"{above}/"[1:] if own else None
        if own:
            self.left_out["lakes"] += 1
        return bool(own)

    def _is_refused(self, path: str) -> bool:
        """Tell whether the patterns leave a path out, and count it; a whole folder counts once."""
        patterns = self.selection.patterns
        refused = patterns.refuses(to_text(path)) if patterns else None
        if refused and refused != self.refused:
            self.left_out[refused[0]] += 1
        self.refused = refused or self.refused
        return refused is not None


def _is_in_layout(folder: str) -> bool:
    return service_of(folder) == SERVICE or "/AWSLogs/" in folder


def day_of(log_object: LogObject) -> DayEnd:
    """Return the end of an object's day."""
    return DayEnd(log_object.account_id, log_object.region, log_object.day)


def _is_lake(folders: Sequence[Folder]) -> bool:
    return any(_name(folder.path) == LAKE_FOLDER for folder in folders)


def _name(path: str) -> str:
    return path.removesuffix("/").rpartition("/")[2]
