"""A lake repaired: strays removed, and damaged tasks forgotten if they can be converted again."""

import socket
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from flowconv.lake import list_unfinished, remove_leftovers
from flowconv.ledger import Ledger, write_intent
from flowconv.problems import Problem, ProblemKind, VerifyReport
from flowconv.recounting import SourceObjects
from flowconv.report import Run
from flowconv.storage import Storage

# What forgetting a task mends.
_DAMAGE: tuple[ProblemKind, ...] = ("missing-file", "damaged-file", "wrong-rows")

# What can be removed for good.
_REMOVABLE = frozenset({"missing-record", "dead-lock", "leftover", "stray-file"})


def repair_lake(
    storage: Storage, ledger: Ledger, run_id: str, objects: SourceObjects, report: VerifyReport
) -> None:
    """Remove what does not count, and forget what is damaged; the caller holds the lock."""
    forgotten, reasons = _forgettable(ledger, objects, report)
    if not forgotten and not _REMOVABLE.intersection(report.kinds):
        report.problems = [_after_repair(one, forgotten, reasons) for one in report.problems]
        return
    run = Run(run_id, datetime.now(UTC), socket.gethostname())
    unfinished = list_unfinished(storage)
    ledger.begin(run)
    remove_leftovers(storage, ledger, unfinished)
    strays = [problem.path for problem in report.problems if problem.kind == "stray-file"]
    doomed = [path for path in strays if path]
    doomed += [file.path for file in ledger.files_of(forgotten)]
    intent = write_intent(storage, run_id, doomed)
    if forgotten:
        ledger.forget(run_id, forgotten)
    storage.delete(doomed)
    storage.delete([intent])
    report.removed, report.forgotten = len(doomed), len(forgotten)
    summary = {"repair": True, "removed": len(doomed), "forgotten": len(forgotten), "failure": ""}
    ledger.end(replace(run, ended=datetime.now(UTC), report=summary))
    if ledger.missing_records:
        ledger.merge()
    report.problems = [_after_repair(one, forgotten, reasons) for one in report.problems]


def _forgettable(
    ledger: Ledger, objects: SourceObjects, report: VerifyReport
) -> tuple[set[str], dict[str, str]]:
    """Return the damaged tasks whose objects can be converted again, and why the others cannot."""
    damaged = {problem.task_id for problem in report.problems if problem.kind in _DAMAGE}
    table = ledger.objects().select(["task_id", "uri"])
    chosen = table.filter(pc.is_in(table["task_id"], pa.array(list(damaged), pa.string())))
    uris: defaultdict[str, list[str]] = defaultdict(list)
    for row in chosen.to_pylist():
        uris[row["task_id"]].append(row["uri"])
    if report.source is None:
        reason = "give --source, so that it is known whether its objects are still there."
        return set(), dict.fromkeys(uris, reason)
    reasons = {}
    for task_id, of_task in uris.items():
        if missing := objects.missing(of_task):
            reasons[task_id] = (
                f"{len(missing):,} of its {len(of_task):,} objects are not in {report.source} "
                f"(such as {missing[0]}), and their rows would be lost. Restore the file from a "
                "copy."
            )
    return uris.keys() - reasons.keys(), reasons


def _after_repair(problem: Problem, forgotten: set[str], reasons: Mapping[str, str]) -> Problem:
    """Say of a problem what became of it."""
    if problem.kind in _DAMAGE:
        if problem.task_id in forgotten:
            advice = "Its task was forgotten; flowconv convert converts its objects again."
            return replace(problem, advice=advice, repaired=True)
        return replace(problem, advice=f"Not repaired: {reasons[problem.task_id or '']}")
    if problem.kind in ("stray-file", "leftover"):
        return replace(problem, advice="It was removed.", repaired=True)
    if problem.kind == "missing-record":
        advice = "What is left of the ledger was merged, and counts."
        return replace(problem, advice=advice, repaired=True)
    if problem.kind == "dead-lock":
        return replace(problem, advice="It was taken over and released.", repaired=True)
    return problem
