"""Tables in catalogs of other engines have the rows of the lake, whatever has become of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import botocore.session  # type: ignore[import-untyped]
import polars as pl
import pyarrow as pa
import pytest
from pyiceberg.catalog import load_catalog
from pyiceberg.expressions.visitors import manifest_evaluator
from pyiceberg.manifest import ManifestEntryStatus, ManifestFile
from pyiceberg.table import StaticTable
from pyiceberg.utils.config import Config

import flowconv
from flowconv import CatalogError, ConvertOptions, LakeError, UsageError, register
from flowconv.catalogs import iceberg, live_tables
from flowconv.catalogs.manifests import live_paths
from flowconv.catalogs.registered import RegisteredTable
from flowconv.options import CatalogKind
from flowconv.rows.schema import table_schema
from support.commands import FAILED, USAGE, run
from support.deaths import Killed
from support.exactly_once import s3_options
from support.lakes import ROW, V2, Key, aws_key, data_files, write_objects

if TYPE_CHECKING:
    from support.s3_servers import S3Server


KINDS = pytest.mark.parametrize("kind", ["delta", "iceberg"])

FIRST = date(2026, 1, 14)
TGW = b"resource-type account-id tgw-id start end packets\n"
TGW_ROW = b"TransitGateway 123456789012 tgw-1 1768348800 1768348860 9\n"
# What a partition's directory cannot hold as it is, or what looks like another name.
HOSTILE = [
    *("a\u00a0b", "ü", "a%2Fb", "a/b", "..", "a#?&=", "'\"", "x;y", "a+b", "~", "{}", "[*]", "a:b"),
    *("%", "%25", "__HIVE_DEFAULT_PARTITION__", "null", "-", "*", "a\\b", "x" * 300),
]


def write_day(logs: Path, day: int, rows: int = 1, name: str = "1a2b3c4d") -> None:
    """Write an object with rows of a day, counted from the first."""
    start = 1768348800 + day * 86_400
    row = ROW.replace(b"1768348800 1768348860", b"%d %d" % (start, start + 60))
    time = f"{FIRST + timedelta(day)}T12:05"
    write_objects(logs, {aws_key("012345678901", time=time, hash_=name): V2 + rows * row})


def convert(logs: Path, lake: Path, **options: Any) -> None:
    report = flowconv.convert(str(logs), str(lake), ConvertOptions(workers=1, **options))
    assert report.complete


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Two days."""
    write_day(tmp_path / "logs", 0)
    write_day(tmp_path / "logs", 1, rows=2)
    return tmp_path / "logs"


@pytest.fixture
def lake(logs: Path, tmp_path: Path) -> Path:
    """Their lake."""
    convert(logs, tmp_path / "lake")
    return tmp_path / "lake"


def read(kind: CatalogKind, table: RegisteredTable) -> pl.DataFrame:
    """Return the rows of a table as the catalog's own reader has them."""
    if kind == "delta":
        return pl.scan_delta(table.address).collect()
    return pl.DataFrame(StaticTable.from_metadata(table.address).scan().to_arrow())


def published(kind: CatalogKind, lake: Path) -> RegisteredTable:
    """Register a lake of one table, and see that its rows are those of the lake."""
    (table,) = register(str(lake), kind).tables
    assert_same(read(kind, table), flowconv.scan(lake).collect())
    return table


def assert_same(found: pl.DataFrame, wanted: pl.DataFrame) -> None:
    assert len(found) == len(wanted)
    assert found.schema == wanted.schema
    assert found.sort(pl.all()).equals(wanted.sort(pl.all()))


def changes(table: RegisteredTable) -> tuple[int, int, int]:
    return table.files, table.added, table.removed


@KINDS
def test_new_replaced_compacted_and_expired_files(
    kind: CatalogKind, logs: Path, lake: Path
) -> None:
    versions = [published(kind, lake)]
    write_day(logs, 2, rows=3)
    convert(logs, lake)
    versions.append(published(kind, lake))
    write_day(logs, 1, rows=5)
    convert(logs, lake, reprocess=True)
    versions.append(published(kind, lake))
    write_day(logs, 1, name="00000000")
    convert(logs, lake)
    flowconv.compact(lake)
    versions.append(published(kind, lake))
    flowconv.expire(str(lake), FIRST + timedelta(1))
    versions.append(published(kind, lake))
    assert list(map(changes, versions)) == [(2, 2, 0), (3, 1, 0), (3, 1, 1), (3, 1, 1), (2, 0, 1)]
    assert len({table.version for table in versions}) == 5
    flowconv.expire(str(lake), FIRST + timedelta(3))
    assert changes(published(kind, lake)) == (0, 0, 2)


def everything(lake: Path) -> dict[Path, tuple[int, int]]:
    files = {path: path.stat() for path in lake.rglob("*") if path.is_file()}
    return {path: (status.st_mtime_ns, status.st_size) for path, status in files.items()}


@KINDS
def test_nothing_is_written_if_nothing_is_new(kind: CatalogKind, lake: Path) -> None:
    first = published(kind, lake)
    before = everything(lake)
    again = published(kind, lake)
    assert changes(again) == (2, 0, 0)
    assert (again.version, again.address) == (first.version, first.address)
    assert everything(lake) == before


@KINDS
def test_folder_of_files_is_left_alone(kind: CatalogKind, lake: Path) -> None:
    before = data_files(lake)
    published(kind, lake)
    assert data_files(lake) == before
    assert len(pl.scan_parquet(lake / "vpc").collect()) == 3
    assert not flowconv.verify(str(lake), str(lake.parent / "logs")).problems


def dies(*_: object, **__: object) -> None:
    raise Killed


def dies_after(call: Callable[..., Any]) -> Callable[..., None]:
    def done(*arguments: Any, **options: Any) -> None:
        call(*arguments, **options)
        raise Killed

    return done


# The commits of each catalog: the one that makes a table, and later ones.
COMMITS = {
    "delta": ("create_table_with_add_actions", "DeltaTable.create_write_transaction"),
    "iceberg": ("_commit", "_commit"),
}


@KINDS
def test_killed_at_a_commit(kind: CatalogKind, logs: Path, lake: Path) -> None:
    """Between a commit of the lake and that of the table, and right after the latter."""
    catalog: Any = import_module(f"flowconv.catalogs.{kind}")

    def killed(commit: str, *, before: bool) -> None:
        *owner, name = commit.split(".")
        place = getattr(catalog, owner[0]) if owner else catalog
        death = dies if before else dies_after(getattr(place, name))
        with mock.patch.object(place, name, death), pytest.raises(Killed):
            register(str(lake), kind)

    first, later = COMMITS[kind]
    killed(first, before=True)
    killed(first, before=False)
    assert changes(published(kind, lake)) == (2, 0, 0)
    write_day(logs, 1, rows=5)
    write_day(logs, 2)
    convert(logs, lake, reprocess=True)
    killed(later, before=True)
    assert changes(published(kind, lake)) == (3, 2, 1)
    write_day(logs, 2, rows=6)
    convert(logs, lake, reprocess=True)
    killed(later, before=False)
    assert changes(published(kind, lake)) == (3, 0, 0)


@KINDS
def test_two_at_once(kind: CatalogKind, logs: Path, lake: Path) -> None:
    """While one registers, files change, and another registers them: the later commit is right."""
    catalog = import_module(f"flowconv.catalogs.{kind}")
    read_bounds = catalog.read_bounds

    def register_twice(**options: Any) -> None:
        others: list[None] = []

        def with_another(*arguments: Any) -> Iterator[Any]:
            yield from read_bounds(*arguments)
            if not others:
                others.append(None)
                convert(logs, lake, **options)
                register(str(lake), kind)

        with mock.patch.object(catalog, "read_bounds", with_another):
            published(kind, lake)
        assert others

    write_day(logs, 2)
    register_twice()  # Both make the table.
    write_day(logs, 3)
    convert(logs, lake)
    write_day(logs, 4)
    register_twice()  # Both add files.
    write_day(logs, 5)
    convert(logs, lake)
    write_day(logs, 4, rows=4)
    register_twice(reprocess=True)  # The other one replaces what the first has seen.
    assert changes(published(kind, lake)) == (6, 0, 0)


def test_a_file_that_pyiceberg_overlooks(
    logs: Path, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlooking: list[None] = []

    def evaluator(*arguments: Any, **options: Any) -> Callable[[Any], bool]:
        if overlooking:
            return manifest_evaluator(*arguments, **options)
        overlooking.append(None)
        return lambda _: False

    published("iceberg", lake)
    write_day(logs, 1, rows=5)
    convert(logs, lake, reprocess=True)
    monkeypatch.setattr("pyiceberg.table.update.snapshot.manifest_evaluator", evaluator)
    assert changes(published("iceberg", lake)) == (2, 1, 1)
    assert overlooking


@KINDS
def test_hostile_partition_values(kind: CatalogKind, tmp_path: Path) -> None:
    lines = [f"{value} 1768348800 {n}\n" for n, value in enumerate(HOSTILE)]
    write_objects(
        tmp_path / "logs", {Key("a.log"): b"vpc-id start bytes\n" + "".join(lines).encode()}
    )
    convert(tmp_path / "logs", tmp_path / "lake", partition_by=("vpc_id", "date", "hour"))
    table = published(kind, tmp_path / "lake")
    found = read(kind, table)
    values = dict(found.select("bytes", "aws_vpc_id").iter_rows())
    null = {"__HIVE_DEFAULT_PARTITION__", "-", "x" * 300}
    assert values == {n: None if v in null else v for n, v in enumerate(HOSTILE)}
    assert found["hour"].unique().to_list() == ["00"]


@KINDS
@pytest.mark.parametrize(
    "options", [{"time_type": "epoch"}, {"with_source": True}, {"partition_by": ("aws_region",)}]
)
def test_other_layouts(kind: CatalogKind, options: Any, logs: Path, tmp_path: Path) -> None:
    convert(logs, tmp_path / "lake", **options)
    published(kind, tmp_path / "lake")


@KINDS
def test_columns_that_an_earlier_flowconv_did_not_know(
    kind: CatalogKind, logs: Path, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = table_schema

    def fewer(*arguments: Any, **options: Any) -> pa.Schema:
        schema = known(*arguments, **options)
        return pa.schema([field for field in schema if field.name != "reject_reason"])

    with monkeypatch.context() as earlier:
        earlier.setattr(live_tables, "table_schema", fewer)
        register(str(lake), kind)
    write_day(logs, 2)
    convert(logs, lake)
    (table,) = register(str(lake), kind).tables
    wanted = flowconv.scan(lake).collect()
    assert_same(read(kind, table).select(wanted.columns), wanted)


def test_lake_without_files(tmp_path: Path) -> None:
    write_objects(tmp_path / "logs", {Key("a.log"): V2})
    flowconv.convert(str(tmp_path / "logs"), str(tmp_path / "lake"))
    assert register(str(tmp_path / "lake"), "delta").tables == ()
    assert "no files yet" in run("register", tmp_path / "lake", "--to", "delta").stdout


@KINDS
def test_what_is_printed(kind: CatalogKind, lake: Path) -> None:
    text = " ".join(run("register", lake, "--to", kind).stdout.split())
    assert "vpc_flows, version" in text
    assert "2 files, 2 added, 0 removed" in text
    assert "nothing new" in run("register", lake, "--to", kind).stdout
    report = json.loads(run("register", lake, "--to", kind, "--json").stdout)
    (table,) = report["tables"]
    assert table == {
        "name": {"delta": "", "iceberg": "flowconv."}[kind] + "vpc_flows",
        "address": table["address"],
        "version": table["version"],
        "files": 2,
        "added": 0,
        "removed": 0,
    }
    assert report["catalog"] == kind
    assert str(lake) in table["address"]


def test_wrong_usage(lake: Path, tmp_path: Path) -> None:
    for option in ("--catalog", "--database"):
        stderr = run("register", lake, "--to", "delta", option, "mine", code=USAGE).stderr
        assert "--to delta takes no --catalog or --database" in stderr
    for option, message in {
        "--catalog=": "--catalog: the name is empty",
        "--database=": "--database: '' is not a name",
        "--database=../x": "--database: '../x' is not a name",
    }.items():
        assert message in run("register", lake, "--to", "iceberg", option, code=USAGE).stderr
    assert not (lake / "iceberg").exists()
    stderr = run("register", lake, "--to", "iceberg", "--catalog", "mine", code=FAILED).stderr
    assert "Describe it in ~/.pyiceberg.yaml. (URI missing" in stderr
    stderr = run("register", lake, "--to", "ducklake", code=USAGE).stderr
    assert "its clean-up would delete the lake's own" in stderr
    assert "Did you mean delta?" in run("register", lake, "--to", "dleta", code=USAGE).stderr
    assert "not a flowconv lake" in run("register", tmp_path, "--to", "delta", code=FAILED).stderr
    with pytest.raises(UsageError, match=r"^--to: 'x' is not one of"):
        register(str(lake), "x")  # type: ignore[arg-type]


@KINDS
def test_library_is_not_installed(
    kind: CatalogKind, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = {"delta": "deltalake", "iceberg": "pyiceberg"}[kind]
    monkeypatch.setitem(sys.modules, library, None)
    stderr = run("register", lake, "--to", kind, code=USAGE).stderr
    assert f"needs {library}, which is not installed" in stderr
    assert f"pip install 'flowconv[{kind}]'" in stderr


@KINDS
def test_files_that_are_gone_or_damaged(kind: CatalogKind, lake: Path) -> None:
    first = data_files(lake)[0]
    whole = first.read_bytes()
    first.write_bytes(bytes(len(whole)))
    with pytest.raises(LakeError, match="not a Parquet footer"):
        register(str(lake), kind)
    first.unlink()
    with pytest.raises(LakeError, match="cannot be read") as caught:
        register(str(lake), kind)
    assert first.name in str(caught.value)
    first.write_bytes(whole)
    published(kind, lake)


@KINDS
def test_file_replaced_while_it_is_registered(kind: CatalogKind, logs: Path, lake: Path) -> None:
    """Its ledger is read again, and nothing of the first attempt is left."""
    read_live_tables = live_tables.read_live_tables
    calls: list[None] = []

    def replaced_then(*arguments: Any) -> Any:
        table = read_live_tables(*arguments)
        if not calls:
            calls.append(None)
            write_day(logs, 1, rows=7)
            convert(logs, lake, reprocess=True)
        return table

    with mock.patch("flowconv.catalogs.registering.read_live_tables", replaced_then):
        published(kind, lake)
    assert len(calls) == 1


def test_moved_lake(lake: Path, tmp_path: Path) -> None:
    """Delta's paths are relative, so the table moves with its lake."""
    published("delta", lake)
    lake.rename(tmp_path / "moved")
    assert changes(published("delta", tmp_path / "moved")) == (2, 0, 0)


def test_delta_below_odd_folders(logs: Path, tmp_path: Path) -> None:
    """polars finds no table below a folder with a space, deltalake does."""
    import deltalake

    lake = tmp_path / "o'lakes ü #?" / "a lake"
    lake.parent.mkdir()
    convert(logs, lake)
    for _ in range(2):
        (table,) = register(str(lake), "delta").tables
    found = deltalake.DeltaTable(table.address).to_pyarrow_table()
    assert found.num_rows == 3
    convert(logs, tmp_path / "a%41")
    with pytest.raises(CatalogError, match="deltalake reads %41 in a folder's name as A"):
        register(str(tmp_path / "a%41"), "delta")
    assert not (tmp_path / "a%41" / "_delta_log").exists()


def test_delta_table_in_the_way(lake: Path) -> None:
    import deltalake

    deltalake.write_deltalake(str(lake), pa.table({"a": [1]}), name="others")
    with pytest.raises(CatalogError, match="Delta table 'others', expected vpc_flows or none"):
        register(str(lake), "delta")
    assert len(pl.read_delta(str(lake))) == 1


def test_delta_cannot_write(lake: Path) -> None:
    """Its reason is told, without the tree that it draws."""
    (lake / "_delta_log").write_bytes(b"")
    with pytest.raises(
        CatalogError, match=r"deltalake: Generic LocalFileSystem error: .*: Not a "
    ) as caught:
        register(str(lake), "delta")
    assert str(caught.value).isprintable()


def test_delta_of_both_tables(lake: Path, tmp_path: Path) -> None:
    """The second one's log is apart; it has the files all the same, also those with odd names."""
    import deltalake

    hostile = "".join(f"tgw-{v} 1768348800 {n}\n" for n, v in enumerate(HOSTILE))
    write_objects(tmp_path / "logs", {Key("b.log"): b"tgw-id start packets\n" + hostile.encode()})
    for _ in range(2):
        convert(tmp_path / "logs", lake)
        vpc, tgw = register(str(lake), "delta").tables
        assert (vpc.address, tgw.address) == (str(lake), f"{lake}/delta/tgw_flows")
        assert changes(tgw)[0] == 1
        assert_same(read("delta", vpc), flowconv.scan(lake).collect())
        builder = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(tgw.address))
        found = pa.table(builder.execute("SELECT count(*) AS n, sum(packets) FROM t").read_all())
        wanted = flowconv.scan(lake, table="tgw").select(pl.len(), pl.sum("packets")).collect()
        assert [tuple(row.values()) for row in found.to_pylist()] == wanted.rows()
    table = deltalake.DeltaTable(str(lake))
    assert table.vacuum(full=True, dry_run=True) == []


def test_delta_skips_files_by_time(lake: Path) -> None:
    import deltalake

    published("delta", lake)
    actions = pa.table(deltalake.DeltaTable(str(lake)).get_add_actions(flatten=True))
    least = sorted(map(str, actions["min.start"].to_pylist()))
    assert [time[:10] for time in least] == [str(FIRST), str(FIRST + timedelta(1))]
    assert actions["num_records"].to_pylist() in ([1, 2], [2, 1])


def test_delta_in_s3(logs: Path, s3: S3Server) -> None:
    bucket = s3.make_bucket()
    lake, options = f"s3://{bucket}/lake", s3_options(s3)
    for day in (1, 2):
        write_day(logs, day, rows=4)
        again = ConvertOptions(workers=1, reprocess=True, dest_options=options)
        assert flowconv.convert(str(logs), lake, again).complete
        (table,) = register(lake, "delta", options=options).tables
        storage_options = {
            "aws_endpoint_url": s3.endpoint_url,
            "aws_access_key_id": options["key"],
            "aws_secret_access_key": options["secret"],
            "aws_region": "us-east-1",
            "aws_allow_http": "true",
        }
        found = pl.scan_delta(table.address, storage_options=storage_options).collect()
        assert_same(found, flowconv.scan(lake, options=options).collect())
        assert changes(register(lake, "delta", options=options).tables[0])[1:] == (0, 0)


def test_polars_reads_iceberg(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")
    wanted = flowconv.scan(lake)
    flows = pl.scan_iceberg(published("iceberg", lake).address)
    assert_same(flows.collect(), wanted.collect())
    a_day = pl.col("date") == FIRST
    assert_same(flows.filter(a_day).collect(), wanted.filter(a_day).collect())


def test_iceberg_skips_files_by_partition_and_time(lake: Path) -> None:
    table = StaticTable.from_metadata(published("iceberg", lake).address)
    for condition, files in {
        "date = '2026-01-14'": 1,
        "aws_account_id = '012345678901'": 2,
        "aws_account_id = '12345678901'": 0,
        "start < '2026-01-15T00:00:00+00:00'": 1,
        "start is null": 0,
    }.items():
        assert len(list(table.scan(row_filter=condition).plan_files())) == files, condition


def manifests(table: StaticTable) -> list[ManifestFile]:
    snapshot = table.current_snapshot()
    assert snapshot
    return snapshot.manifests(table.io)


@pytest.mark.parametrize(("most", "entries"), [(20, [1, 2, 2, 2]), (2, [3, 4])])
def test_iceberg_manifests_of_few_days(
    most: int, entries: list[int], logs: Path, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of other days are not read, and what leads to the last snapshot is forgotten."""
    monkeypatch.setattr(iceberg, "_ENTRIES", 2)
    monkeypatch.setattr(iceberg, "_MOST_MANIFESTS", most)
    for day in range(2, 7):
        write_day(logs, day)
    convert(logs, lake)
    first = StaticTable.from_metadata(published("iceberg", lake).address)
    assert [len(live_paths(manifest, first.io)) for manifest in manifests(first)] == entries
    scan = first.scan("date = '2026-01-15'")
    with mock.patch.object(ManifestFile, "fetch_manifest_entry", autospec=True) as fetch:
        list(scan.plan_files())
    assert fetch.call_count == 1
    assert len(first.snapshots()) == 1

    write_day(logs, 1, rows=5)
    for day in range(7, 12):
        write_day(logs, day)
    convert(logs, lake, reprocess=True)
    table = published("iceberg", lake)
    assert changes(table) == (12, 6, 1)
    assert len(StaticTable.from_metadata(table.address).snapshots()) == 2


def test_iceberg_snapshots_are_forgotten(
    logs: Path, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = published("iceberg", lake)
    monkeypatch.setattr(iceberg, "_SNAPSHOTS_STAY", timedelta(days=-1))
    versions = [int(first.version)]
    for day in (2, 3, 4):
        write_day(logs, day)
        convert(logs, lake)
        table = published("iceberg", lake)
        versions.append(int(table.version))
        found = StaticTable.from_metadata(table.address)
        assert [snapshot.snapshot_id for snapshot in found.snapshots()] == versions[-2:]
    # Those with a name stay.
    catalog = load_catalog("flowconv", type="sql", uri=f"sqlite:///{lake}/iceberg/catalog.db")
    with catalog.load_table(table.name).manage_snapshots() as manage:
        manage.create_tag(versions[-2], "mine")
    catalog.close()
    write_day(logs, 5)
    convert(logs, lake)
    found = StaticTable.from_metadata(published("iceberg", lake).address)
    assert versions[-2] in {snapshot.snapshot_id for snapshot in found.snapshots()}


def test_paths_in_iceberg_manifests(logs: Path, lake: Path) -> None:
    published("iceberg", lake)
    write_day(logs, 1, rows=5)
    convert(logs, lake, reprocess=True)
    table = StaticTable.from_metadata(published("iceberg", lake).address)
    entries = []
    for manifest in manifests(table):
        live = manifest.fetch_manifest_entry(table.io)
        assert live_paths(manifest, table.io) == [entry.data_file.file_path for entry in live]
        entries += manifest.fetch_manifest_entry(table.io, discard_deleted=False)
    statuses = {entry.status for entry in entries}
    assert statuses >= {ManifestEntryStatus.ADDED, ManifestEntryStatus.DELETED}


def test_iceberg_table_of_another_lake(logs: Path, lake: Path, tmp_path: Path) -> None:
    published("iceberg", lake)
    lake.rename(tmp_path / "moved")
    with pytest.raises(CatalogError, match="Remove the lake's folder iceberg/"):
        register(str(tmp_path / "moved"), "iceberg")


def configure(monkeypatch: pytest.MonkeyPatch, **properties: str) -> None:
    """Put a catalog `mine` into pyiceberg's configuration."""
    for name, value in properties.items():
        monkeypatch.setenv(f"PYICEBERG_CATALOG__MINE__{name}", value)
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())


def test_iceberg_catalog_of_several_lakes(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, URI=f"sqlite:///{tmp_path}/mine.db", WAREHOUSE=f"file://{tmp_path}/w")
    for name in ("one", "two"):
        convert(logs, tmp_path / name)
        arguments = ["register", str(tmp_path / name), "--to=iceberg", "--catalog=mine"]
        assert f"{name}.vpc_flows" in run(*arguments, "--database", name).stdout
        assert not (tmp_path / name / "iceberg").exists()
    taken = run(*arguments, "--database", "one", code=FAILED).stderr
    assert "/one. Choose another database: --database NAME" in taken
    catalog = load_catalog("mine")
    catalog.create_namespace("three")
    catalog.create_table("three.vpc_flows", pa.schema([("a", pa.int32())]))
    catalog.close()
    taken = run(*arguments, "--database", "three", code=FAILED).stderr
    assert "that flowconv did not make. Choose another database" in taken


def test_iceberg_in_s3(
    logs: Path, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ceph 16 refuses the checksums that Arrow sends at the end of a body.
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    bucket, options = s3.make_bucket(), s3_options(s3)
    lake = f"s3://{bucket}/lake"
    keys = {
        "S3__ENDPOINT": s3.endpoint_url,
        "S3__ACCESS_KEY_ID": options["key"],
        "S3__SECRET_ACCESS_KEY": options["secret"],
        "S3__REGION": "us-east-1",
    }
    assert flowconv.convert(
        str(logs), lake, ConvertOptions(workers=1, dest_options=options)
    ).complete
    with pytest.raises(UsageError, match="needs a catalog of yours: --catalog NAME"):
        register(lake, "iceberg", options=options)
    configure(
        monkeypatch, URI=f"sqlite:///{tmp_path}/mine.db", WAREHOUSE=f"s3://{bucket}/w", **keys
    )
    (table,) = register(lake, "iceberg", catalog="mine", options=options).tables
    properties = {name.lower().replace("__", ".").replace("_", "-"): keys[name] for name in keys}
    found = StaticTable.from_metadata(table.address, properties).scan().to_arrow()
    assert_same(pl.DataFrame(found), flowconv.scan(lake, options=options).collect())


def glue_partitions(client: Any, table: str = "vpc_flows") -> dict[tuple[str, ...], str]:
    """Values -> location, of a table in the database `network`."""
    pages = client.get_paginator("get_partitions").paginate(DatabaseName="network", TableName=table)
    return {
        tuple(partition["Values"]): partition["StorageDescriptor"]["Location"]
        for page in pages
        for partition in page["Partitions"]
    }


def test_glue(logs: Path, lake: Path, moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_GLUE", moto_s3.endpoint_url)
    bucket, options = moto_s3.make_bucket(), s3_options(moto_s3)
    url = f"s3://{bucket}/lake"
    client = botocore.session.Session().create_client(
        "glue",
        options["region"],
        aws_access_key_id=options["key"],
        aws_secret_access_key=options["secret"],
    )

    def registered() -> RegisteredTable:
        (table,) = register(url, "glue", database="network", options=options).tables
        assert table.address == f"{url}/vpc/"
        return table

    def converted() -> None:
        again = ConvertOptions(workers=1, reprocess=True, dest_options=options)
        assert flowconv.convert(str(logs), url, again).complete

    hostile = "".join(f"{v} 1768348800\n" for v in ("null", "..")).encode()
    write_objects(logs, {Key("a.log"): b"account-id start\n" + hostile})
    converted()
    assert changes(registered()) == (3, 3, 0)
    folder = f"{url}/vpc/aws_account_id=012345678901/aws_region=eu-west-1"
    found = glue_partitions(client)
    for day in ("2026-01-14", "2026-01-15"):
        assert found["012345678901", "eu-west-1", day] == f"{folder}/date={day}/"
    null = "__HIVE_DEFAULT_PARTITION__"
    assert found[null, null, "2026-01-14"].endswith(f"={null}/date=2026-01-14/")

    table = client.get_table(DatabaseName="network", Name="vpc_flows")["Table"]
    assert {key["Type"] for key in table["PartitionKeys"]} == {"string"}
    columns = [column["Name"] for column in table["StorageDescriptor"]["Columns"]]
    keys = [key["Name"] for key in table["PartitionKeys"]]
    assert columns + keys == flowconv.scan(url, options=options).collect_schema().names()

    again = registered()
    assert (changes(again), again.version) == ((3, 0, 0), table["VersionId"])
    write_day(logs, 3)
    converted()
    flowconv.expire(url, "2026-01-15", options=options)
    assert changes(registered()) == (2, 1, 2)
    assert {values[2] for values in glue_partitions(client)} == {"2026-01-15", "2026-01-17"}

    with pytest.raises(UsageError, match="takes no --catalog"):
        register(url, "glue", catalog="mine", options=options)
    with pytest.raises(UsageError, match="Glue knows lakes in S3 only"):
        register(str(lake), "glue")
    client.update_table(
        DatabaseName="network",
        TableInput={"Name": "vpc_flows", "StorageDescriptor": table["StorageDescriptor"]},
    )
    with pytest.raises(CatalogError, match="not this lake's"):
        registered()
    client.close()
