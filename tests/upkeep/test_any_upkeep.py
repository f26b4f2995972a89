"""A lake of two flow logs goes through any upkeep, with kills: no record is lost or made up.

What is converted, and which days have expired, the ledger says; the rows must be those. The whole
program's model (`whole/test_model.py`) has objects that vanish, and damage.
"""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

import flowconv
from flowconv.lake.converted_objects import etags
from support.deaths import Killed, dies_at
from support.examples import MORE_EXAMPLES
from support.overlapping import POOR, RICH, Place

# At which change of a file a run is killed; None, and numbers that it does not reach: not at all.
KILLS = st.one_of(st.none(), st.integers(0, 40))
MERGES = st.sampled_from([1, 64])


class Version(NamedTuple):
    """What an object has: a record for each port, all of one size."""

    flow_log: str
    ports: range
    size: int


class Upkeep(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.place = Place(self.folder)
        self.versions: dict[tuple[str, str], Version] = {}
        self.source: dict[str, str] = {}
        self.numbers = itertools.count(1)

    def teardown(self) -> None:
        self._kept_files_go()
        self.place.convert(reprocess=True)
        self.place.assert_well()
        shutil.rmtree(self.folder)

    @initialize()
    def two_hours(self) -> None:
        for flow_log, hour in itertools.product((RICH, POOR), (1, 2)):
            self.object_arrives_or_changes(flow_log, hour, 10 * (flow_log == POOR), 20, 840)
            self.place.convert()

    @rule(
        flow_log=st.sampled_from([RICH, POOR]),
        hour=st.integers(1, 3),
        first=st.sampled_from([0, 10]),
        number=st.sampled_from([1, 15, 20]),
        size=st.sampled_from([840, 840, 900]),
    )
    def object_arrives_or_changes(
        self, flow_log: str, hour: int, first: int, number: int, size: int
    ) -> None:
        ports = range(100 * hour + first, 100 * hour + first + number)
        self.place.write(flow_log, hour, ports, size=size)
        path, time_ns = self.place.path(flow_log, hour), next(self.numbers) * 10**9
        os.utime(path, ns=(time_ns, time_ns))
        self.source[str(path)] = etag = f"{path.stat().st_size}-{time_ns}"
        self.versions[str(path), etag] = Version(flow_log, ports, size)

    @rule(reprocess=st.booleans(), merge=MERGES, killed_at=KILLS)
    def conversion(self, *, reprocess: bool, merge: int, killed_at: int | None) -> None:
        if self._done(lambda: self.place.convert(reprocess=reprocess), merge, killed_at):
            converted = self._converted()
            assert converted.keys() == self.source.keys()
            assert converted == self.source or not reprocess

    @rule(
        dedupe=st.booleans(),
        keep=st.sampled_from([0, 0, 1]),
        min_files=st.sampled_from([1, 2]),
        merge=MERGES,
        killed_at=KILLS,
    )
    def compaction(
        self, *, dedupe: bool, keep: int, min_files: int, merge: int, killed_at: int | None
    ) -> None:
        def compact() -> None:
            self.place.compact(dedupe=dedupe, keep=keep, min_files=min_files)

        before = self.place.records()
        is_done = self._done(compact, merge, killed_at)
        after = self.place.records()
        if not dedupe:
            assert after == before
        elif is_done:
            assert after == self._expected() - self._duplicates()
            compact()
            assert self.place.records() == after

    @rule(merge=MERGES, killed_at=KILLS)
    def day_expires(self, *, merge: int, killed_at: int | None) -> None:
        def expire() -> None:
            flowconv.expire(str(self.place.lake), "2026-01-14")

        if self._done(expire, merge, killed_at):
            assert all(port % 20 for _, port, _ in self.place.records())

    @rule()
    def kept_files_go(self) -> None:
        self._kept_files_go()

    def _kept_files_go(self) -> None:
        with mock.patch("flowconv.lake.leftovers.datetime") as time:
            time.now.return_value = datetime.now(UTC) + timedelta(hours=2)
            self.place.convert()

    def _done(self, act: Callable[[], object], merge: int, killed_at: int | None) -> bool:
        """Do something, and tell whether it was not killed."""
        with mock.patch("flowconv.lake.ledger.RECORDS_PER_CHECKPOINT", merge):
            if killed_at is None:
                act()
                return True
            with dies_at(killed_at):
                try:
                    act()
                except Killed:
                    return False
        return True

    def _converted(self) -> dict[str, str]:
        return etags(self.place.ledger())

    def _records_of(self, flow_log: str) -> Counter[tuple[str, int, int]]:
        """Return the records that a flow log must have, were none a duplicate."""
        expired = self.place.ledger().expired()
        partition = "vpc/aws_account_id=123456789012/aws_region=us-east-1/date=2026-01-13"
        is_expired = expired.has_partition(partition)
        found = (self.versions[entry] for entry in self._converted().items())
        return Counter(
            (flow_log, port, version.size)
            for version in found
            if version.flow_log == flow_log
            for port in version.ports
            if port % 20 or not is_expired
        )

    def _expected(self) -> Counter[tuple[str, int, int]]:
        return self._records_of(RICH) + self._records_of(POOR)

    def _duplicates(self) -> Counter[tuple[str, int, int]]:
        """Return the records of the poorer flow log that the richer one has, too."""
        rich = self._records_of(RICH)
        poor = self._records_of(POOR)
        return Counter({one: n for one, n in poor.items() if (RICH, *one[1:]) in rich})

    @invariant()
    def no_record_is_lost_or_made_up(self) -> None:
        found, expected = self.place.records(), self._expected()
        assert expected - self._duplicates() <= found <= expected
        problems = flowconv.verify(str(self.place.lake), str(self.place.logs)).problems
        left = {"dead-lock", "leftover", "stray-file", "changed", "not-converted"}
        assert not {problem.kind for problem in problems} - left


# Who is dead closes no file.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_any_sequence_of_upkeep() -> None:
    with (
        mock.patch("flowconv.lake.locking.SETTLE_S", 0.0),
        mock.patch("flowconv.conversion.planning._LEAST_TASK_BYTES", 1),
    ):
        run_state_machine_as_test(
            Upkeep,
            settings=settings(
                max_examples=4 + MORE_EXAMPLES,
                stateful_step_count=12,
                # To make an example smaller takes minutes.
                phases=(Phase.explicit, Phase.reuse, Phase.generate),
                suppress_health_check=list(HealthCheck),
            ),
        )
    gc.collect()  # Here, where such warnings are ignored, not in another test.
