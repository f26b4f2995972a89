"""The flow logs of a lake, from its ledger: their fields, and the tasks that read them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flowconv.fields import Table
from flowconv.lake.ledger import Ledger
from flowconv.lake.ledger_records import split_headers
from flowconv.source.keys import NAME_PATTERN
from flowconv.upkeep.duplicates import is_of


@dataclass(frozen=True, slots=True)
class FlowLogs:
    """The flow logs whose objects have their ids in their names.

    Attributes:
        fields: Flow log -> AWS's names of all fields in its objects.
        of_task: Task -> flow logs that it read.
    """

    fields: Mapping[str, frozenset[str]]
    of_task: Mapping[str, frozenset[str]]

    def of(self, table: Table, task_ids: Iterable[str]) -> dict[str, frozenset[str]]:
        """Return flow log -> fields, of those of a table that tasks have read."""
        read = (self.of_task.get(task_id, frozenset()) for task_id in task_ids)
        found = {
            flow_log: self.fields.get(flow_log, frozenset()) for flow_log in set().union(*read)
        }
        return {flow_log: names for flow_log, names in found.items() if is_of(table, names)}


def read_flow_logs(ledger: Ledger) -> FlowLogs:
    """Return a lake's flow logs."""
    fields: defaultdict[str, set[str]] = defaultdict(set)
    of_task: defaultdict[str, set[str]] = defaultdict(set)
    for batch in ledger.object_batches("task_id", "uri", "fields"):
        names: Any = pc.extract_regex(batch["uri"], NAME_PATTERN)
        columns = [
            batch["task_id"].dictionary_encode(),
            pc.struct_field(names, "id").dictionary_encode(),
            pc.cast(batch["fields"], pa.string()).dictionary_encode(),
        ]
        # A few different rows of many.
        codes = np.stack([_codes(column) for column in columns])
        tasks, flow_logs, headers = (column.dictionary.to_pylist() for column in columns)
        for task, flow_log, header in np.unique(codes, axis=1).T.tolist():
            if flow_log >= 0:
                of_task[tasks[task]].add(flow_logs[flow_log])
                for text in split_headers(headers[header]) if header >= 0 else ():
                    fields[flow_logs[flow_log]].update(text.split())
    return FlowLogs(
        {flow_log: frozenset(names) for flow_log, names in fields.items()},
        {task: frozenset(flow_logs) for task, flow_logs in of_task.items()},
    )


def _codes(column: Any) -> Any:
    return pc.fill_null(column.indices, -1).to_numpy(zero_copy_only=False)
