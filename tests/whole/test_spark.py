"""Spark reads lakes: as folders, by the statements of `flowconv ddl`, and events of OCSF.

`make test-spark` installs it; it needs Java. Elsewhere these tests are skipped. Spark's own readers
of Iceberg and Delta are Java archives from Maven, and not tested.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flowconv import ConvertOptions, convert, ddl, scan

# py4j leaves sockets open.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.driver.memory": "1g",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.session.timeZone": "UTC",
    # Accounts begin with zeros.
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
}


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    missing = [
        name
        for name, is_there in (("pyspark", find_spec("pyspark")), ("Java", shutil.which("java")))
        if not is_there
    ]
    if missing:
        reason = f"{' and '.join(missing)} not installed"
        if os.environ.get("FLOWCONV_REQUIRE_SPARK") == "1":
            pytest.fail(f"FLOWCONV_REQUIRE_SPARK=1, but {reason}", pytrace=False)
        pytest.skip(reason)
    from pyspark.sql import SparkSession  # type: ignore[import-not-found]

    builder = SparkSession.builder.master("local[1]")
    settings = SETTINGS | {"spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse"))}
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield session
    session.stop()


def rows(frame: pl.LazyFrame) -> list[tuple[Any, ...]]:
    """What each test asks: by account and day."""
    return (
        frame.group_by("aws_account_id", pl.col("date").cast(pl.String))
        .agg(pl.len(), pl.col("bytes").sum(), pl.col("vpc_id").count())
        .sort(pl.all())
        .collect()
        .rows()
    )


QUESTION = (
    "SELECT aws_account_id, CAST(date AS STRING), count(*), sum(bytes), count(vpc_id) FROM {} "
    "GROUP BY 1, 2 ORDER BY 1, 2"
)


def ask(spark: Any, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in spark.sql(sql).collect()]


def test_a_folder(spark: Any, sample_lake: Path) -> None:
    spark.read.parquet(f"{sample_lake}/vpc").createOrReplaceTempView("folder")
    assert ask(spark, QUESTION.format("folder")) == rows(scan(str(sample_lake)))


def test_ddl(spark: Any, sample_lake: Path) -> None:
    statements = [text.strip() for text in ddl(str(sample_lake), "spark").split(";")]
    for statement in filter(None, statements):
        spark.sql(statement)
    assert ask(spark, QUESTION.format("vpc_flows")) == rows(scan(str(sample_lake)))
    types = dict(spark.table("vpc_flows").dtypes)
    assert types["start"] == "timestamp"
    assert types["aws_account_id"] == "string"
    assert ask(spark, "SELECT count(*) FROM tgw_flows") == [(0,)]


def test_ocsf(spark: Any, sample_logs: Path, sample_lake: Path, tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    convert(str(sample_logs), lake, ConvertOptions(workers=1, schema="ocsf"))
    spark.read.parquet(lake).createOrReplaceTempView("events")
    found = ask(
        spark,
        "SELECT accountId, count(*), sum(traffic.bytes), count(unmapped['flow_log_id']), "
        "count(cloud.account.uid) FROM events GROUP BY 1 ORDER BY 1",
    )
    wanted = (
        scan(str(sample_lake))
        .group_by("aws_account_id")
        .agg(pl.len(), pl.col("bytes").sum(), pl.col("flow_log_id").count(), n=pl.len())
        .sort(pl.all())
        .collect()
        .rows()
    )
    assert found == wanted
    assert dict(spark.table("events").dtypes)["unmapped"] == "map<string,string>"
