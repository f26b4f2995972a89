"""Repairs: strays are removed, and damaged tasks forgotten if they can be converted again.

No row is removed that may be nowhere else: a task is forgotten only if each of its objects was just
read again and gave the rows that it had, and a stray that a run wrote is set aside, since a lost
record may have named it.
"""

import socket
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc

from flowconv.errors import FlowconvError
from flowconv.lake.compacted import rewrite_without
from flowconv.lake.intents import taking_back, write_intent
from flowconv.lake.layout import Layout, restore_layout
from flowconv.lake.ledger import Ledger
from flowconv.lake.ledger_records import DataFile, Run, Share, Swap
from flowconv.lake.leftovers import list_leftovers, remove_leftovers, set_aside
from flowconv.lake.notes import Bonds, notes_without
from flowconv.lake.paths import is_written_here
from flowconv.lake.writing import StagedFile
from flowconv.options import ConvertOptions
from flowconv.storage.interface import Storage
from flowconv.verification.problems import Problem, ProblemKind, VerifyReport
from flowconv.verification.recounting import SourceObjects

# Problems that forgetting a task repairs.
_DAMAGE: tuple[ProblemKind, ...] = ("missing-file", "damaged-file", "wrong-rows")

# Problems that are repaired without converting anything again.
_REMOVABLE = frozenset({"missing-layout", "missing-record", "dead-lock", "leftover", "stray-file"})


def repair_lake(
    storage: Storage,
    layout: Layout,
    ledger: Ledger,
    run_id: str,
    objects: SourceObjects,
    report: VerifyReport,
    workers: int,
) -> None:
    """Remove files that do not count, and forget damaged tasks; the caller holds the lock."""
    files = ledger.files()
    bonds = Bonds(ledger.notes(with_expired=False))
    forgotten, reasons = _forgettable(ledger, files, bonds, objects, report, workers)

    def sum_up(moved: Mapping[str, str]) -> None:
        report.problems = [
            _after_repair(problem, _tasks_of(problem, files, bonds), reasons, moved)
            for problem in report.problems
        ]

    if not forgotten and not _REMOVABLE.intersection(report.kinds):
        sum_up({})
        return
    if report.kinds["missing-layout"]:
        restore_layout(storage, layout)
    run = Run(run_id=run_id, began=datetime.now(UTC), host=socket.gethostname())
    leftovers = list_leftovers(storage, layout)
    ledger.begin(run, asdict(layout))
    remove_leftovers(storage, ledger, leftovers)
    strays = [
        problem.path for problem in report.problems if problem.kind == "stray-file" and problem.path
    ]
    moved = set_aside(storage, filter(is_written_here, strays), ledger.generation)
    removable = [path for path in strays if path not in moved]
    shared = ledger.compacted_with(forgotten)
    removable += [file.path for file in (*ledger.files_of(forgotten), *shared)]
    damaged = {problem.path for problem in report.problems if problem.kind in _DAMAGE}
    # All tasks of a damaged compacted file are forgotten, so nothing is left of it.
    whole = [file for file in shared if file.path not in damaged]
    options = ConvertOptions(time_type=layout.time_type, with_source=layout.with_source)
    rewritten = rewrite_without(storage, whole, forgotten, ledger.generation, options)
    new_paths = [staged.file.path for staged in rewritten]
    intent = write_intent(storage, run_id, [*removable, *new_paths])
    if forgotten:
        with taking_back(storage, new_paths, intent, FlowconvError):
            _forget(ledger, run_id, forgotten, rewritten, shared)
    storage.delete(removable)
    storage.delete([intent])
    report.removed, report.forgotten = len(removable), len(forgotten)
    report.set_aside = len(moved)
    summary = {
        "repair": True,
        "removed": len(removable),
        "forgotten": len(forgotten),
        "failure": "",
    }
    ledger.end(replace(run, ended=datetime.now(UTC), report=summary))
    if ledger.missing_records:
        ledger.merge()
    sum_up(moved)


def _forget(
    ledger: Ledger,
    run_id: str,
    forgotten: Collection[str],
    rewritten: Sequence[StagedFile],
    shared: Sequence[DataFile],
) -> None:
    """Forget tasks; what others have in compacted files they share is in the rewritten ones."""
    for staged in rewritten:
        staged.sink.publish()
    notes = ledger.notes_with(forgotten)
    files = tuple(staged.file for staged in rewritten)
    files += tuple(notes_without(notes, forgotten, ledger.generation))
    replaced = tuple(file.path for file in (*shared, *notes))
    ledger.forget(run_id, forgotten, Swap(files, replaced))


def _forgettable(
    ledger: Ledger,
    files: Mapping[str, tuple[DataFile, str]],
    bonds: Bonds,
    objects: SourceObjects,
    report: VerifyReport,
    workers: int,
) -> tuple[set[str], dict[str, str]]:
    """Return the damaged tasks that can be converted again, and task -> reason of the others."""
    together = [
        _tasks_of(problem, files, bonds) for problem in report.problems if problem.kind in _DAMAGE
    ]
    damaged = set(chain.from_iterable(together))
    table = ledger.objects("task_id", "uri")
    chosen = table.filter(pc.is_in(table["task_id"], pa.array(list(damaged), pa.string())))
    uris: defaultdict[str, list[str]] = defaultdict(list)
    for row in chosen.to_pylist():
        uris[row["task_id"]].append(row["uri"])
    if report.source is None:
        reason = "give --source, so that it is known whether its objects can be converted again."
        return set(), dict.fromkeys(uris, reason)
    reasons = {}
    contradictory = {problem.task_id for problem in report.problems if problem.kind == "wrong-rows"}
    for task_id, of_task in uris.items():
        # If the ledger's counts contradict each other, the objects must give the files' rows.
        in_files = _rows_of(task_id, files, ledger)
        at_least = in_files if task_id in contradictory else None
        if lost := objects.unconvertible(of_task, at_least, workers):
            uri, why = next(iter(lost.items()))
            reasons[task_id] = (
                f"{len(lost):,} of its {len(of_task):,} objects cannot be converted again, and "
                f"their rows would be lost ({uri}: {why}). Restore the file, or the objects, from "
                "a copy."
            )
    while stuck := [
        tasks for tasks in together if tasks & reasons.keys() and tasks - reasons.keys()
    ]:
        # Rows of many tasks are in one compacted file.
        for tasks in stuck:
            reason = next(reasons[task_id] for task_id in tasks if task_id in reasons)
            reasons |= {task_id: reason for task_id in tasks if task_id not in reasons}
    return uris.keys() - reasons.keys(), reasons


def _tasks_of(
    problem: Problem, files: Mapping[str, tuple[DataFile, str]], bonds: Bonds
) -> frozenset[str]:
    """Return the tasks whose rows are damaged, and those whose rows they stand for."""
    file, _ = files.get(problem.path or "", (None, ""))
    if file and file.shares:
        return frozenset(bonds.bound_to(share.task_id for share in file.shares))
    return frozenset(bonds.bound_to([problem.task_id or ""]))


def _rows_of(task_id: str, files: Mapping[str, tuple[DataFile, str]], ledger: Ledger) -> int:
    """Return how many rows of a task are in files, or were duplicates of such rows."""
    in_files = (
        share.rows
        for file, owner in files.values()
        if file.is_data
        for share in file.shares or (Share(owner, file.rows),)
        if share.task_id == task_id
    )
    duplicates = (
        entry.rows
        for note in ledger.notes()
        for entry in note.duplicates
        if entry.task_id == task_id
    )
    return sum(in_files) + sum(duplicates)


def _after_repair(
    problem: Problem, tasks: frozenset[str], reasons: Mapping[str, str], moved: Mapping[str, str]
) -> Problem:
    """Return a problem with what the repair did about it; `tasks` are those that it is of."""
    if problem.kind in _DAMAGE:
        if why := [reasons[task_id] for task_id in sorted(tasks) if task_id in reasons]:
            return replace(problem, advice=f"Not repaired: {why[0]}")
        advice = "Its task was forgotten; flowconv convert converts its objects again."
        return replace(problem, advice=advice, repaired=True)
    if target := moved.get(problem.path or ""):
        advice = (
            f"It was moved to {target}: a run wrote it, and no record names it. Delete it when its "
            "rows are no longer needed."
        )
        return replace(problem, advice=advice, repaired=True)
    if problem.kind == "missing-layout":
        return replace(problem, advice="It was written again.", repaired=True)
    if problem.kind in ("stray-file", "leftover"):
        return replace(problem, advice="It was removed.", repaired=True)
    if problem.kind == "missing-record":
        advice = "What is left of the ledger was merged, and counts."
        return replace(problem, advice=advice, repaired=True)
    if problem.kind == "dead-lock":
        return replace(problem, advice="It was taken over and released.", repaired=True)
    return problem
