"""The converted objects that a ledger names: which were converted, how, and by which task."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from flowconv.blocks.counts import LineCounts
from flowconv.lake.ledger import Ledger
from flowconv.lake.ledger_records import TaskObject, split_headers, split_unfit


def etags(ledger: Ledger) -> dict[str, str]:
    """Return uri -> etag of every converted object."""
    return etags_and_formats(ledger, with_formats=False)[0]


class DeclaredFor(NamedTuple):
    """The formats that were declared for an object when it was converted; see `ConvertedObject`."""

    formats: tuple[str, ...]
    unfit: tuple[tuple[str, str], ...]


def etags_and_formats(
    ledger: Ledger, *, with_formats: bool = True
) -> tuple[dict[str, str], dict[str, DeclaredFor]]:
    """Return uri -> etag, and uri -> declared formats of the objects that have any."""
    converted: dict[str, str] = {}
    declared: dict[str, DeclaredFor] = {}
    columns = ["uri", "etag", *(["declared", "unfit"] if with_formats else [])]
    # Batch by batch: the result alone takes 400 MB for a million objects.
    for batch in ledger.object_batches(*columns):
        uris: Any = batch["uri"].to_pylist()
        versions: Any = batch["etag"].to_pylist()
        converted.update(zip(uris, versions, strict=True))
        if with_formats:
            formats = _of_texts(batch["declared"], split_headers)
            unfit = _of_texts(batch["unfit"], split_unfit)
            declared |= {
                uri: DeclaredFor(*both)
                for uri, *both in zip(uris, formats, unfit, strict=True)
                if any(both)
            }
    return converted, declared


def _of_texts(texts: Any, split: Callable[[str], tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return what each of many equal texts stands for; null stands for nothing."""
    known = [split(text) for text in texts.dictionary.to_pylist()]
    return [() if code is None else known[code] for code in texts.indices.to_pylist()]


def counts_of(
    ledger: Ledger, uris: Collection[str]
) -> dict[str, tuple[LineCounts, tuple[str, ...]]]:
    """Return uri -> lines by kind, and the formats declared for the object."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kinds = LineCounts._fields
    objects = ledger.objects("uri", *kinds, "declared")
    chosen = objects.filter(pc.is_in(objects["uri"], pa.array(list(uris), pa.string())))
    return {
        row["uri"]: (
            LineCounts(**{kind: row[kind] for kind in kinds}),
            split_headers(row["declared"]),
        )
        for row in chosen.to_pylist()
    }


def has_objects(ledger: Ledger, source: str) -> bool:
    """Tell whether objects of a source were converted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for batch in ledger.object_batches("uri"):
        uris = batch["uri"]
        if pc.any(
            pc.or_(pc.starts_with(uris, f"{source}/"), pc.equal(uris, pa.scalar(source)))
        ).as_py():
            return True
    return False


def rejected_uris(ledger: Ledger) -> list[str]:
    """Return the uris of the objects that have rejected lines."""
    import pyarrow as pa
    import pyarrow.compute as pc

    objects = ledger.objects("uri", "rejected")
    uris: Any = objects.filter(pc.greater(objects["rejected"], pa.scalar(0)))["uri"].to_pylist()
    return list(uris)


def task_ids_of(ledger: Ledger, uris: Collection[str]) -> list[str]:
    """Return the tasks that converted any of the objects."""
    if not uris:
        return []
    import pyarrow as pa
    import pyarrow.compute as pc

    objects = ledger.objects("task_id", "uri")
    wanted = pc.is_in(objects["uri"], pa.array(list(uris), pa.string()))
    found: Any = pc.unique(objects["task_id"].filter(wanted)).to_pylist()
    return list(found)


def objects_of(ledger: Ledger, task_ids: Collection[str]) -> dict[str, list[TaskObject]]:
    """Return task -> all its objects."""
    if not task_ids:
        return {}
    import pyarrow as pa
    import pyarrow.compute as pc

    objects = ledger.objects("task_id", *TaskObject._fields)
    wanted = pc.is_in(objects["task_id"], pa.array(list(task_ids), pa.string()))
    tasks: dict[str, list[TaskObject]] = {}
    for row in objects.filter(wanted).to_pylist():
        tasks.setdefault(row.pop("task_id"), []).append(TaskObject(**row))
    return tasks
