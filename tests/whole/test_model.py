"""A lake and a model of it go through the same days: random ones, with kills and damage.

The model is a dictionary of what is converted. The rows that it expects are the oracle's. After
each step the lake's rows, files, ledger, status and verification are what the model says.

FLOWCONV_EXAMPLES=1000 adds so many examples, of 30 steps each.
"""

from __future__ import annotations

import gc
import gzip
import itertools
import json
import os
import random
import re
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import flowconv
from flowconv import CompactOptions, ConvertOptions, ConvertReport, VerifyOptions
from flowconv.blocks.counts import LineCounts
from flowconv.errors import LakeError
from flowconv.lake import checkpoints
from flowconv.lake.converted_objects import etags
from flowconv.lake.ledger import Ledger
from flowconv.storage.opening import open_storage
from oracle import reference
from support.deaths import Killed, dies_at
from support.exactly_once import LocalLake, Rows, assert_exact, assert_sound, body
from support.examples import MORE_EXAMPLES
from support.lakes import V2, Key, aws_key

FIRST_DAY = date(2026, 1, 14)
# Objects of two accounts and three days, and one whose key says nothing.
KEYS = [
    aws_key(account, time=f"{FIRST_DAY + timedelta(day)}T00:05", hash_=f"{number:08x}")
    for account in ("123456789012", "000000000012")
    for day in range(3)
    for number in range(2)
] + [Key("copies/a.log")]

KINDS = ("good", "good", "good", "bad lines", "header only", "empty", "cut", "no header")


@dataclass(frozen=True, kw_only=True)
class Version:
    """An object's content, as the oracle reads it; `counts` is None if it cannot be read."""

    key: Key
    content: bytes
    etag: str
    counts: LineCounts | None
    rejected: Counter[str]
    rows: Rows


@dataclass
class Model:
    """What a lake must hold.

    Attributes:
        source: The objects that are there now.
        converted: Those that are in the lake, as they were converted.
        tasks: The objects that were converted together, and stand or fall together.
        lake_exists: A run has found something to convert.
    """

    source: dict[str, Version] = field(default_factory=dict)
    converted: dict[str, Version] = field(default_factory=dict)
    tasks: list[frozenset[str]] = field(default_factory=list)
    lake_exists: bool = False

    def expected(self) -> dict[tuple[str, str], Rows]:
        return {(uri, version.etag): version.rows for uri, version in self.converted.items()}

    def counts(self) -> LineCounts:
        known = [version.counts for version in self.converted.values() if version.counts]
        return sum(known, LineCounts())


@dataclass(frozen=True)
class Choice:
    """Options of a run."""

    since: int | None
    until: int | None
    reprocess: bool
    retry_rejected: bool

    def options(self) -> ConvertOptions:
        since, until = (
            None if day is None else FIRST_DAY + timedelta(day) for day in (self.since, self.until)
        )
        return ConvertOptions(
            since=since,
            until=until,
            reprocess=self.reprocess,
            retry_rejected=self.retry_rejected,
            workers=2,
        )

    def has(self, day: date | None) -> bool:
        if self.since is None and self.until is None:
            return True
        if day is None:
            return False
        number = (day - FIRST_DAY).days
        return (self.since or 0) <= number <= (9 if self.until is None else self.until)


@dataclass
class Outcome:
    """What a run must do: its report, and the tasks that it commits, one by one."""

    already: int = 0
    changed: set[str] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)
    commits: list[dict[str, Version]] = field(default_factory=list)


def outcome(model: Model, choice: Choice) -> Outcome:
    result = Outcome()
    listed = {uri: version for uri, version in model.source.items() if choice.has(version.key.day)}
    groups: defaultdict[Any, dict[str, Version]] = defaultdict(dict)
    for uri, current in listed.items():
        old = model.converted.get(uri)
        if old is None:
            groups[current.key.account_id, current.key.day][uri] = current
        elif old.etag != current.etag:
            result.changed.add(uri)
    for group in groups.values():
        result.unreadable |= {uri for uri, version in group.items() if version.counts is None}
        if commit := {uri: version for uri, version in group.items() if version.counts is not None}:
            result.commits.append(commit)

    before = listed.keys() & model.converted.keys()
    wanted: set[str] = set()
    if choice.reprocess:
        wanted |= result.changed if choice.since is choice.until is None else before
    if choice.retry_rejected:
        wanted |= {uri for uri in before if model.converted[uri].rejected}
    taken: set[str] = set()
    for task in model.tasks:
        if not task & wanted:
            continue
        if task - listed.keys():
            result.unreadable |= task & wanted
            taken |= task & wanted
            continue
        taken |= task
        if any(_is_lost(model.converted[uri], listed[uri]) for uri in task):
            result.unreadable |= task
        else:
            result.commits.append({uri: listed[uri] for uri in task})
    result.already = len(before - result.changed - taken)
    result.changed -= taken
    return result


def _is_lost(before: Version, now: Version) -> bool:
    """Tell whether an object's rows would go if it were converted anew."""
    if now.counts is None:
        return True
    had_rows = before.counts is not None and before.counts.rows > 0
    is_empty = not now.counts.rows + now.counts.rejected
    return before.etag != now.etag and had_rows and is_empty


CHOICES = st.builds(
    Choice,
    since=st.sampled_from([None, None, None, 0, 1, 2]),
    until=st.sampled_from([None, None, None, 0, 1, 2]),
    reprocess=st.booleans(),
    retry_rejected=st.booleans(),
).filter(lambda choice: (choice.since or 0) <= (2 if choice.until is None else choice.until))

MERGES = st.sampled_from([1, 3, 8, 64])


@contextmanager
def merging(records: int) -> Iterator[None]:
    """Merge so many records; every second such run writes objects behind those of others."""
    full_bytes = 1 if records % 2 else checkpoints.FULL_BYTES
    with (
        mock.patch("flowconv.lake.ledger.RECORDS_PER_CHECKPOINT", records),
        mock.patch("flowconv.lake.checkpoints.FULL_BYTES", full_bytes),
    ):
        yield


class LakeAndModel(RuleBasedStateMachine):
    engine: ClassVar[Any] = None
    """What runs that are not killed do their tasks on; None: threads."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.source = self.folder / "logs"
        self.source.mkdir()
        self.lake = LocalLake(self.folder / "lake")
        (self.folder / "links").mkdir()
        (self.folder / "links/here").symlink_to(self.folder)
        (self.folder / "links/source").symlink_to(self.source)
        # By which paths source and lake are named.
        self.named_source, self.named_lake = self.source, Path(self.lake.url)
        self.model = Model()
        self.numbers = itertools.count(1)
        self.gone: dict[str, Version] = {}
        self.clean = True  # No killed run has left anything,
        self.merged = True  # nor a checkpoint, which goes with the next merge.

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    # --- the source ------------------------------------------------------------------------------

    @initialize(kind=st.sampled_from(KINDS))
    def first_object(self, kind: str) -> None:
        self._write(KEYS[0], kind)

    @rule(
        keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=5, unique=True),
        kinds=st.lists(st.sampled_from(KINDS), min_size=5, max_size=5),
    )
    def objects_arrive_or_change(self, keys: list[Key], kinds: list[str]) -> None:
        for key, kind in zip(keys, kinds, strict=False):
            self._write(key, kind)

    @precondition(lambda self: self.model.source)
    @rule(data=st.data())
    def object_vanishes(self, data: st.DataObject) -> None:
        uri = data.draw(st.sampled_from(sorted(self.model.source)), label="object")
        self.gone[uri] = self.model.source.pop(uri)
        Path(uri).unlink()

    @precondition(lambda self: self.gone)
    @rule(data=st.data())
    def object_comes_back(self, data: st.DataObject) -> None:
        uri = data.draw(st.sampled_from(sorted(self.gone)), label="object")
        self._put(self.gone.pop(uri))

    def _write(self, key: Key, kind: str) -> None:
        number = next(self.numbers)
        content = {
            "good": body(f"eni-{number}", rows=number % 4 + 1),
            "bad lines": body(f"eni-{number}", rows=2, bad_lines=number % 3 + 1),
            "header only": gzip.compress(V2),
            "empty": b"",
            "cut": body(f"eni-{number}")[:-6],
            "no header": b"2 123456789012 eni-1\n",
        }[kind]
        etag = f"{len(content)}-{number * 10**9}"
        try:
            read = reference.read_object(content, delivered=key.day)
        except reference.Unreadable:
            version = Version(
                key=key,
                content=content,
                etag=etag,
                counts=None,
                rejected=Counter(),
                rows=Counter(),
            )
            self._put(version)
            return
        rows: Rows = Counter()
        for row in read.rows:
            place = reference.partition(
                row, account=key.account_id, region=key.region, time=key.time, day=key.day
            )
            values = reference.table_row(row, flow_log_id=key.flow_log_id).values()
            rows[f"vpc/{reference.partition_path(place)}", *values] += 1
        counts = LineCounts(
            header=read.header,
            blank=read.blank,
            comment=read.comment,
            rows=len(read.rows),
            rejected=len(read.rejected),
            far_times=read.far_times,
            left_out=read.left_out,
        )
        rejected = Counter(line.reason for line in read.rejected)
        version = Version(
            key=key, content=content, etag=etag, counts=counts, rejected=rejected, rows=rows
        )
        self._put(version)

    def _put(self, version: Version) -> None:
        path = self.source / version.key.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(version.content)
        time_ns = int(version.etag.rpartition("-")[2])
        os.utime(path, ns=(time_ns, time_ns))
        self.model.source[str(path)] = version
        self.gone.pop(str(path), None)

    @rule(how=st.sampled_from(["{}", "links/source", "links/here/{}", "links/../{}"]))
    def source_is_named_otherwise(self, how: str) -> None:
        """By links; it is the same one, and its objects are converted already."""
        self.named_source = self.folder / how.format(self.source.name)

    @rule()
    def source_is_moved(self) -> None:
        """To another name, and back: objects are known by their full names."""
        moved = self.folder / ("archive" if self.source.name == "logs" else "logs")
        self.source.rename(moved)
        self.source = self.named_source = moved
        link = self.folder / "links/source"
        link.unlink()
        link.symlink_to(moved)
        self.model.source = self._named_now(self.model.source)
        self.gone = self._named_now(self.gone)

    def _named_now(self, versions: dict[str, Version]) -> dict[str, Version]:
        return {str(self.source / version.key.path): version for version in versions.values()}

    @rule(how=st.sampled_from(["lake", "links/here/lake"]))
    def lake_is_named_otherwise(self, how: str) -> None:
        self.named_lake = self.folder / how

    # --- runs ------------------------------------------------------------------------------------

    @rule(choice=CHOICES, merge=MERGES)
    def run(self, choice: Choice, merge: int) -> None:
        self._run(choice, merge)

    @rule(merge=MERGES)
    def nightly_run_and_again(self, merge: int) -> None:
        choice = Choice(None, None, reprocess=False, retry_rejected=False)
        self._run(choice, merge)
        assert self._run(choice, merge).objects == 0

    def _run(self, choice: Choice, merge: int) -> ConvertReport:
        wanted = outcome(self.model, choice)
        with merging(merge):
            report = flowconv.convert(
                str(self.named_source),
                str(self.named_lake),
                choice.options(),
                engine=self.engine,
            )
        commits = [version for commit in wanted.commits for version in commit.values()]
        assert bool(report.workers) >= bool(self.engine and commits)
        assert report.objects == len(commits)
        assert report.already_converted == wanted.already
        assert set(report.changed) == wanted.changed
        assert len(report.changed) == len(wanted.changed)
        assert report.unreadable.keys() == wanted.unreadable
        assert report.rejected == sum((version.rejected for version in commits), Counter())
        assert report.lines == sum(
            (version.counts for version in commits if version.counts), LineCounts()
        )
        there = self.model.source.values()
        assert report.empty == (not any(choice.has(version.key.day) for version in there))
        assert report.found_before == bool(report.empty and self._converted_from_here())
        odd = (report.empty, wanted.changed, wanted.unreadable, report.rejected)
        assert report.complete == (not any(odd))
        assert report.source_bytes == sum(len(version.content) for version in commits)
        for commit in wanted.commits:
            self._commit(commit)
        listed = [version for version in self.model.source.values() if choice.has(version.key.day)]
        assert len(listed) == sum(
            (report.objects, report.already_converted, len(report.changed), len(report.unreadable))
        )
        self.model.lake_exists |= bool(listed)
        if self.model.lake_exists:
            self.clean = True
            self.merged |= merge == 1
            assert flowconv.status(self.lake.url).runs[0].state == "done"
        return report

    def _converted_from_here(self) -> set[str]:
        return {uri for uri in self.model.converted if uri.startswith(f"{self.source}/")}

    def _commit(self, commit: dict[str, Version]) -> None:
        self.model.tasks = [task for task in self.model.tasks if not task & commit.keys()]
        self.model.tasks.append(frozenset(commit))
        self.model.converted |= commit

    @rule(choice=CHOICES, merge=MERGES, killed_at=st.floats(0, 1))
    def killed_run(self, choice: Choice, merge: int, killed_at: float) -> None:
        """Which tasks it committed, only the ledger knows; each whole or not at all."""
        wanted = outcome(self.model, choice)
        with merging(merge):
            self._kill(
                killed_at,
                lambda url: flowconv.convert(str(self.named_source), url, choice.options()),
            )
        self.model.lake_exists |= Path(self.lake.url, "_flowconv/lake.json").exists()
        if not self.model.lake_exists:
            return
        found = self._converted()
        for commit in wanted.commits:
            are_committed = [found.get(uri) == version.etag for uri, version in commit.items()]
            if all(are_committed):
                self._commit(commit)
            else:
                assert not any(
                    is_new and self.model.converted.get(uri) != commit[uri]
                    for uri, is_new in zip(commit, are_committed, strict=True)
                )

    @precondition(lambda self: self.model.lake_exists)
    @rule(
        merge=MERGES,
        min_files=st.sampled_from([1, 2]),
        sort_by=st.sampled_from([(), (), ("dstport", "start")]),
        killed_at=st.one_of(st.none(), st.none(), st.floats(0, 1)),
    )
    def compaction(
        self, merge: int, min_files: int, sort_by: tuple[str, ...], killed_at: float | None
    ) -> None:
        """No row changes, whatever becomes of the objects before and after."""
        how = CompactOptions(min_files=min_files, sort_by=sort_by, workers=2)
        with merging(merge):
            if killed_at is not None:
                self._kill(killed_at, lambda url: flowconv.compact(url, how))
                return
            report = flowconv.compact(self.lake.url, how, engine=self.engine)
        assert flowconv.compact(self.lake.url, how).partitions == []
        self.clean = True
        self.merged |= merge == 1 and bool(report.partitions)

    # --- damage ----------------------------------------------------------------------------------

    @precondition(lambda self: self.model.converted)
    @rule(
        how=st.sampled_from(["deleted", "cut", "flipped", "emptied"]),
        seed=st.integers(0, 10**6),
        killed_at=st.one_of(st.none(), st.floats(0, 1)),
        is_rotten=st.sampled_from([False, False, True]),
    )
    def damage_is_repaired(
        self, how: str, seed: int, killed_at: float | None, is_rotten: bool
    ) -> None:
        """Found in any file; repaired if its objects are there and whole, else left as it is."""
        self._run(Choice(None, None, reprocess=False, retry_rejected=False), 64)
        chance = random.Random(seed)
        files = self._files()
        if not files:
            return
        path = chance.choice(sorted(files))
        whole = path.read_bytes()
        place = chance.randrange(len(whole))
        if how == "deleted":
            path.unlink()
        elif how == "flipped":
            path.write_bytes(
                whole[:place] + bytes([whole[place] ^ 1 << seed % 8]) + whole[place + 1 :]
            )
        else:
            path.write_bytes(whole[: place if how == "cut" else 0])
        kind = "missing-file" if how == "deleted" else "damaged-file"
        damaged = flowconv.verify(self.lake.url, engine=self.engine)
        assert [(p.kind, p.uri) for p in damaged.problems] == [(kind, str(path))]
        tasks = files[path]
        task = frozenset(itertools.chain.from_iterable(tasks))
        # Every object must come again as it was; a new version of it is another one.
        repairable = all(
            uri in self.model.source
            and self.model.source[uri].etag == self.model.converted[uri].etag
            for uri in task
        )
        there = [uri for uri in sorted(task) if uri in self.model.source]
        rotten = chance.choice(there) if there and is_rotten else None
        if rotten and self._rot(rotten):
            repairable = False
        if killed_at is None:
            repaired = flowconv.verify(
                self.lake.url, source=str(self.named_source), options=VerifyOptions(repair=True)
            )
            forgotten = len(tasks) if repairable else 0
            assert (repaired.forgotten, repaired.complete) == (forgotten, False)
        else:
            self._kill(killed_at, self._repair)
        if not task & self._converted().keys():
            assert repairable
            for forgotten_task in tasks:
                self.model.tasks.remove(forgotten_task)
            for uri in task:
                del self.model.converted[uri]
        elif repairable:
            assert killed_at is not None
        if path.exists() or task & self.model.converted.keys():
            path.write_bytes(whole)  # As if it had been restored.
        if rotten:
            self._put(self.model.source[rotten])

    def _rot(self, uri: str) -> bool:
        """Make an object unreadable, whose size and time stay; tell whether there was anything."""
        path, status = Path(uri), Path(uri).stat()
        if not status.st_size:
            return False
        path.write_bytes((b"\x1f\x8b" + bytes(status.st_size))[: status.st_size])
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        return True

    def _repair(self, url: str) -> None:
        flowconv.verify(url, source=str(self.named_source), options=VerifyOptions(repair=True))

    def _kill(self, killed_at: float, act: Callable[[str], object]) -> None:
        """Let something be done to the lake, and kill it on its way; 0 is the beginning."""
        # How many steps it takes, from a copy.
        copy = self.lake.copy()
        with dies_at(10**9) as steps:
            act(copy.url)
        shutil.rmtree(copy.url, ignore_errors=True)
        try:
            with dies_at(int(killed_at * len(steps))):
                act(self.lake.url)
        except Killed:
            self.clean = self.merged = False

    def _files(self) -> dict[Path, set[frozenset[str]]]:
        """All files of the lake, and the tasks that each is of, by what they hold."""
        by_interface: defaultdict[str, set[str]] = defaultdict(set)
        for uri, version in self.model.converted.items():
            for row in version.rows:
                by_interface[row[3]].add(uri)
        owner = {uri: task for task in self.model.tasks for uri in task}
        ledger = self._ledger()
        files_now, objects = ledger.files(), ledger.objects("uri", "task_id")
        task_of = dict(
            zip(*(objects[name].to_pylist() for name in ("uri", "task_id")), strict=True)
        )
        files: dict[Path, set[frozenset[str]]] = {}
        for name in self.lake.names():
            path = Path(self.lake.url, name)
            if name.startswith("vpc/"):
                file, task_id = files_now[name]
                of_file = {share.task_id for share in file.shares} or {task_id}
                with pq.ParquetFile(path) as parquet:
                    interfaces: Any = parquet.read(["interface_id"])["interface_id"].unique()
                # One that was converted before and after its source was moved is in two files.
                uris = {
                    uri
                    for interface in interfaces.to_pylist()
                    for uri in by_interface[interface]
                    if task_of[uri] in of_file
                }
                assert {task_of[uri] for uri in uris} == of_file
                files[path] = {owner[uri] for uri in uris}
            elif name.startswith("_flowconv/quarantine/"):
                record: Any = json.loads(path.read_bytes().splitlines()[0])
                files[path] = {owner[record["uri"]]}
        return files

    @precondition(lambda self: self.model.converted)
    @rule(
        what=st.sampled_from(["ledger", "lake.json", "last records", "objects", "files", "runs"]),
        number=st.integers(1, 3),
    )
    def loss_is_noticed(self, what: str, number: int) -> None:
        """Nothing goes on without it; brought back, all is as before."""
        lost = self._to_lose(what, number)
        elsewhere = self.folder / "elsewhere"
        elsewhere.mkdir()
        for path in lost:
            path.rename(elsewhere / path.name)
        for use in (flowconv.status, flowconv.scan, self._convert) if lost else ():
            with pytest.raises(LakeError, match=r"(is|are) gone"):
                use(self.lake.url)
        for path in lost:
            (elsewhere / path.name).rename(path)
        elsewhere.rmdir()

    def _to_lose(self, what: str, number: int) -> list[Path]:
        """Files of the ledger, without which no one can know what is in the lake."""
        folder = Path(self.lake.url, "_flowconv")
        if what in ("ledger", "lake.json"):
            return [folder / what]
        if not self.clean:
            return []  # What is left of a run that was killed, nobody may know of.
        ledger = sorted((folder / "ledger").iterdir())
        checkpoint = max((path.name[:12] for path in ledger if "." in path.name), default="")
        if what == "last records":
            records = [path for path in ledger if checkpoint < path.name and "." not in path.name]
            return records[-number:]
        if any(path.name == checkpoint for path in ledger):
            return []  # The next run removes the records that it holds; until then all is there.
        lost = next((p for p in ledger if p.name.startswith(f"{checkpoint}.{what}-")), None)
        # Of objects, the last file or one of those before it.
        for _ in range(number - 1):
            if lost and (before := re.search(r"-after-(\d{12})-", lost.name)):
                lost = next(p for p in ledger if p.name.startswith(f"{before[1]}.{what}-"))
        return [lost] if lost else []

    def _convert(self, url: str) -> object:
        return flowconv.convert(str(self.named_source), url)

    @precondition(lambda self: self.model.lake_exists)
    @rule(where=st.sampled_from(["vpc", "vpc/date=2026-01-14", "tgw", "_flowconv/quarantine"]))
    def stray_is_removed(self, where: str) -> None:
        stray = Path(self.lake.url, where, "stray.parquet")
        stray.parent.mkdir(parents=True, exist_ok=True)
        stray.write_bytes(b"PAR1")
        found = flowconv.verify(self.lake.url)
        assert ("stray-file", str(stray)) in [(p.kind, p.uri) for p in found.problems]
        assert flowconv.verify(self.lake.url, options=VerifyOptions(repair=True)).complete
        assert not stray.exists()
        self.clean = True

    # --- what must hold at any time --------------------------------------------------------------

    def _converted(self) -> dict[str, str]:
        return etags(self._ledger())

    def _ledger(self) -> Ledger:
        return Ledger.read(open_storage(self.lake.url))

    @invariant()
    def lake_is_as_the_model_says(self) -> None:
        model = self.model
        if not model.lake_exists:
            assert all("/.unfinished-" in name for name in self.lake.names())
            with pytest.raises(LakeError, match="not a flowconv lake"):
                flowconv.status(self.lake.url)
            return
        assert self._converted() == {uri: version.etag for uri, version in model.converted.items()}
        exact = self.clean and self.merged
        (assert_exact if exact else assert_sound)(self.lake, model.expected())
        counts = model.counts()
        status = flowconv.status(self.lake.url)
        assert (status.objects, status.rows) == (len(model.converted), counts.rows)
        assert status.rejected == counts.rejected
        assert status.rejected_objects == sum(
            bool(version.rejected) for version in model.converted.values()
        )
        found = flowconv.verify(self.lake.url, source=str(self.named_source), engine=self.engine)
        wanted = Counter(
            "not-converted" if uri not in model.converted else "changed"
            for uri, current in model.source.items()
            if uri not in model.converted or current.etag != model.converted[uri].etag
        )
        left = {"dead-lock", "leftover", "stray-file"} if not self.clean else set()
        assert {kind: n for kind, n in found.kinds.items() if kind not in left} == wanted
        assert (found.rows, found.rejected) == (counts.rows, counts.rejected)
        assert found.expired == len(self._converted_from_here() - model.source.keys())
        assert found.complete == (not found.problems)


class OnAnEngine(LakeAndModel):
    """The same days, with the tasks of runs, checks and compactions on Dask."""


@contextmanager
def cluster() -> Iterator[Any]:
    """Start a cluster of two workers in this process."""
    distributed = pytest.importorskip("distributed")
    with distributed.Client(
        processes=False, n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as client:
        yield client


# Who is dead closes no file.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    ("machine", "examples"), [(LakeAndModel, 10), (OnAnEngine, 2)], ids=["threads", "engine"]
)
def test_any_sequence_of_days(machine: type[LakeAndModel], examples: int) -> None:
    with (
        mock.patch("flowconv.lake.locking.SETTLE_S", 0.0),
        cluster() if machine is OnAnEngine else nullcontext() as OnAnEngine.engine,
    ):
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples + MORE_EXAMPLES,
                stateful_step_count=30,
                # To make an example smaller takes minutes.
                phases=(Phase.explicit, Phase.reuse, Phase.generate),
                suppress_health_check=list(HealthCheck),
            ),
        )
    gc.collect()  # Here, where such warnings are ignored, not in another test.
