"""Writes tables of all kinds and reads them with Arrow; run under the sanitizers.

python write_parquet.py EXAMPLES
"""

import io
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings

from flowconv.parquet.writing import ParquetWriter
from support.parquet_tables import as_read, large_table, long_texts, tables


def write(table: pa.Table, names: list[str]) -> None:
    texts = [
        n
        for n, c in zip(table.column_names, as_read(table).columns, strict=True)
        if pa.types.is_string(c.type)
    ]
    file = io.BytesIO()
    writer = ParquetWriter(file, table.schema, sort_by=names, bloom_filters=texts)
    writer.write_table(table)
    writer.close()
    # Without threads: the sanitizers can abort a process that ends while Arrow's do.
    read = pq.ParquetFile(
        pa.BufferReader(file.getvalue()), pre_buffer=False, page_checksum_verification=True
    )
    found = read.read(use_threads=False)
    assert found.num_rows == table.num_rows
    if not names:
        assert found.equals(as_read(table))


def main(examples: int) -> None:
    count = 0

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(tables())
    def write_examples(table: pa.Table) -> None:
        nonlocal count
        count += 1
        write(table, [])
        write(table, table.column_names[:3])

    write_examples()
    for table in (large_table(), long_texts()):
        write(table, [])
        write(table, table.column_names[:2])
    sys.stdout.write(f"{count} tables\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
