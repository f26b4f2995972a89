"""Rows without those that another flow log has too, against a slow reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowconv.fields import KEYS, Table
from flowconv.lake.compacted import Origin, Origins
from flowconv.lake.ledger_records import Duplicates
from flowconv.rows.schema import table_schema, with_encoded_texts
from flowconv.upkeep.duplicates import DuplicateRemover, comparable, is_of
from support.examples import MORE_EXAMPLES

VPC_KEYS = [
    "interface-id",
    "srcaddr",
    "dstaddr",
    "srcport",
    "dstport",
    "protocol",
    "start",
    "end",
]
# Fields beside the keys; `version` says nothing of a record.
FORMATS = {
    "fl-full": [*VPC_KEYS, "version", "action", "bytes", "tcp-flags", "secret"],
    "fl-bytes": [*VPC_KEYS, "version", "bytes"],
    "fl-action": [*VPC_KEYS, "action", "tcp-flags"],
    "fl-same": [*VPC_KEYS, "version", "bytes"],
    "fl-short": ["interface-id", "start", "end", "bytes"],
}
SCHEMA = with_encoded_texts(table_schema(Table.VPC))
COLUMNS = [
    *KEYS[Table.VPC],
    "version",
    "action",
    "bytes",
    "tcp_flags",
    "flow_log_id",
    "unknown_fields",
]
Row = Mapping[str, Any]


def row(flow_log: str | None, task: int = 0, **values: Any) -> dict[str, Any]:
    """A row with the fields of its flow log."""
    known = FORMATS.get(flow_log or "", VPC_KEYS)
    defaults: dict[str, Any] = dict.fromkeys(COLUMNS)
    defaults |= {"interface_id": "eni-1", "start": 100, "end": 160, "flow_log_id": flow_log}
    given_ = {
        name: value
        for name, value in values.items()
        if name.replace("_", "-") in known and name != "secret"
    }
    if "secret" in known:
        given_["unknown_fields"] = values.get("secret")
    return {**defaults, **given_, "task": task}


def reference(
    rows: Sequence[Row], formats: Mapping[str, frozenset[str]]
) -> tuple[Counter[Any], Counter[Any]]:
    """What is left, and what was removed: by flow logs, and whose rows stand for it."""
    left = [dict(one) for one in rows]
    removed: Counter[Any] = Counter()
    ranked = sorted(formats, key=lambda name: (-len(formats[name]), name))
    for place, rich in enumerate(ranked):
        for poor in ranked[place + 1 :]:
            names = sorted((formats[rich] & formats[poor]) - {"version"})

            def key(one: Row, names: Sequence[str] = names) -> tuple[Any, ...]:
                return tuple(one[name] for name in names)

            there = Counter(key(one) for one in left if of(one, rich))
            rest = []
            for one in left:
                if of(one, poor) and there[key(one)]:
                    there[key(one)] -= 1
                    removed[poor, rich] += 1
                else:
                    rest.append(one)
            left = rest
    return multiset(left), removed


def of(one: Row, flow_log: str) -> bool:
    is_known = all(one[name] is not None for name in ("interface_id", "start", "end"))
    return one["flow_log_id"] == flow_log and is_known


def multiset(rows: Sequence[Row]) -> Counter[Any]:
    return Counter(
        tuple(sorted(one.items(), key=lambda item: item[0])) for one in map(comparable_row, rows)
    )


def comparable_row(one: Row) -> dict[str, Any]:
    return {name: str(value) for name, value in one.items() if name != "task"}


def sorted_table(rows: Sequence[Row]) -> pa.Table:
    def key(one: Row) -> list[Any]:
        return [
            (one[name] is not None, one[name] or 0 if not isinstance(one[name], str) else one[name])
            for name in KEYS[Table.VPC]
        ]

    ordered = sorted(rows, key=key)
    fields: list[Any] = [SCHEMA.field(name) for name in COLUMNS]
    fields = [pa.field(f.name, pa.int64()) if f.name in ("start", "end") else f for f in fields]
    schema = pa.schema([*fields, ("task", pa.uint32())])
    return pa.Table.from_pylist([dict(one) for one in ordered], schema)


def deduped(rows: Sequence[Row], piece_rows: int) -> tuple[pa.Table, DuplicateRemover]:
    remover = DuplicateRemover(
        Table.VPC,
        comparable(Table.VPC, FORMATS),
        Origins(Origin(f"task-{n}") for n in range(4)),
        "task",
    )
    table = sorted_table(rows)
    pieces = [
        table.slice(start, piece_rows).unify_dictionaries().combine_chunks()
        for start in range(0, len(rows), piece_rows)
    ]
    kept = [*remover.keep(pieces)]
    return pa.concat_tables(kept) if kept else table, remover


texts = st.sampled_from([None, "10.0.0.1", "10.0.0.2"])
numbers = st.sampled_from([None, 0, 443])
ROWS = st.lists(
    st.builds(
        row,
        st.sampled_from([*FORMATS, "fl-unknown", None]),
        st.integers(0, 3),
        interface_id=st.sampled_from(["eni-1", "eni-1", "eni-2", None]),
        srcaddr=texts,
        srcport=numbers,
        start=st.sampled_from([100, 100, 200, None]),
        version=st.sampled_from([2, 5]),
        action=st.sampled_from(["ACCEPT", "REJECT", None]),
        bytes=numbers,
        tcp_flags=numbers,
        secret=st.sampled_from([None, '{"secret":"1"}']),
    ),
    max_size=24,
)


@given(ROWS, st.integers(1, 25))
@settings(max_examples=60 + MORE_EXAMPLES)
def test_as_the_reference(rows: list[Row], piece_rows: int) -> None:
    table, remover = deduped(rows, piece_rows)
    left, removed = reference(rows, comparable(Table.VPC, FORMATS))
    assert multiset(table.to_pylist()) == left
    found: Counter[Any] = Counter()
    for entry in remover.duplicates():
        found[entry.flow_log_id, entry.kept_flow_log_id] += entry.rows
    assert found == removed
    # Each task's rows are there, or noted.
    noted: Counter[str] = Counter()
    for entry in remover.duplicates():
        noted[entry.task_id] += entry.rows
    there = Counter(remover._origins[code].task_id for code in table["task"].to_pylist())
    assert there + noted == Counter(f"task-{one['task']}" for one in rows)


def flow_logs_of(rows: Sequence[Row], piece_rows: int = 100) -> list[str]:
    table, _ = deduped(rows, piece_rows)
    return sorted(map(str, table["flow_log_id"].to_pylist()))


def test_the_richer_row_is_kept() -> None:
    rows = [
        row("fl-bytes", bytes=9, version=2),
        row("fl-full", bytes=9, version=5, action="ACCEPT"),
    ]
    assert flow_logs_of(rows) == ["fl-full"]


def test_as_often_as_the_flow_log_that_has_it_most_often() -> None:
    rows = (
        [row("fl-full", bytes=9)] * 2 + [row("fl-bytes", bytes=9)] * 3 + [row("fl-same", bytes=9)]
    )
    assert flow_logs_of(rows) == ["fl-bytes", "fl-full", "fl-full"]


def test_one_flow_log_keeps_what_it_has_twice() -> None:
    assert flow_logs_of([row("fl-full")] * 3) == ["fl-full"] * 3
    assert flow_logs_of([row(None)] * 3) == ["None"] * 3


@pytest.mark.parametrize(
    "other",
    [
        row("fl-bytes", bytes=8),
        row("fl-bytes", bytes=None),
        row("fl-bytes", bytes=9, end=700),
        row("fl-bytes", bytes=9, start=None),
        row("fl-short", bytes=9),
        row("fl-unknown", bytes=9),
        row(None, bytes=9),
    ],
)
def test_what_differs_stays(other: Row) -> None:
    """Also a window of ten minutes, and rows of flow logs that cannot be compared."""
    assert len(flow_logs_of([row("fl-full", bytes=9), other])) == 2


def test_tasks_are_noted() -> None:
    rows = [row("fl-full", 1, bytes=9), row("fl-bytes", 2, bytes=9), row("fl-full", 3, bytes=7)]
    _, remover = deduped(rows, 1)
    assert remover.duplicates() == [
        Duplicates(
            task_id="task-2",
            flow_log_id="fl-bytes",
            kept_task_id="task-1",
            kept_flow_log_id="fl-full",
            rows=1,
        )
    ]


def test_transit_gateways() -> None:
    names = ["tgw-attachment-id", *VPC_KEYS[1:], "resource-type"]
    assert comparable(Table.TGW, {"fl-1": names, "fl-2": VPC_KEYS}).keys() == {"fl-1"}
    assert is_of(Table.TGW, names)
    assert not is_of(Table.VPC, names)
    assert not is_of(Table.TGW, VPC_KEYS)
