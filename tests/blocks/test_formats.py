"""Headers and --format: which lines name fields, and what they name; held against the oracle."""

from pathlib import Path

import pytest

from flowconv.blocks import formats
from flowconv.blocks.declared_formats import declared_formats
from flowconv.blocks.formats import MAX_FIELDS, declared_format, header_format, split_line
from flowconv.errors import FormatError, UsageError
from flowconv.fields import DEFAULT_FORMAT
from oracle import reference
from support.in_memory import assert_as_reference

# Until 2021 AWS's guide to Athena had these names; with the later fields without punctuation.
ATHENA = (
    "version account interfaceid sourceaddress destinationaddress sourceport destinationport "
    "protocol numpackets numbytes starttime endtime action logstatus vpcid subnetid pktsrcaddr"
)
STREAM_ALERT = (
    "protocol source destination srcport destport action packets bytes windowstart windowend "
    "version eni account flowlogstatus"
)

LINES = [
    "version",
    "version srcaddr new-field another",  # Half are known.
    "version new-field another",
    "new-field",
    "srcaddr x",
    "${version} ${account-id} ${new-field}",
    "${srcaddr dstaddr",
    "srcaddr} dstaddr}",
    "${srcaddr dstaddr}",
    "${a action",
    "VERSION AccountId log_status src-addr d-s-t-addr",
    "tgw-id version action",
    "tgw_src_eni x",
    "traffic-path packets-lost-blackhole",
    "instance-tag ecs-task-id reject-reason encryption-status",
    "date srcaddr",
    "Hour srcaddr",
    "aws-region srcaddr AWS_x dstaddr",
    "new--field srcaddr new_-_other dstaddr",
    "2 123 srcaddr",
    "srcaddr 10.0.0.1",
    "srcaddr dst:addr",
    "-srcaddr",
    "srcaddr -",
    "é srcaddr",
    "-",
    ATHENA,
    STREAM_ALERT,
    "interfaceId srcAddr dstAddr srcPort dstPort logStatus",
    "${source_address} DestinationAddress num-packets",
    "source x",
    "source x y",
    "account tgw-id sourceaddress",
]


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("declared", [None, "default", "new-field", "foo version bar baz qux"])
def test_headers(line: str, declared: str | None) -> None:
    tokens = line.split(" ")
    given = reference.format_header(declared) if declared else None
    expected = reference.header_of(tokens) if reference.is_header(tokens, given) else None
    known = frozenset({declared_format(declared)} if declared else ())
    format_ = header_format(tuple(token.encode() for token in tokens), known)
    if expected is None:
        assert format_ is None
        return
    assert format_ is not None
    assert format_.table == expected.table
    assert list(format_.columns) == [column.column for column in expected.columns]
    kinds = {"tag": "string", "time": "int64"}
    assert [field.type for field in format_.fields] == [
        kinds.get(column.kind, column.kind) for column in expected.columns
    ]


@pytest.mark.parametrize("line", LINES)
def test_headers_of_objects(line: str) -> None:
    """At the start of an object, and in the middle of one whose values are all text."""
    assert_as_reference([f"{line}\na b\n".encode()])
    assert_as_reference([f"srcaddr action\na b\n{line}\nc d\n".encode()])


@pytest.mark.parametrize("line", ["src-addr act_ion", "act-ion Src_Addr"])
def test_spellings_of_other_tools_among_rows_of_text(line: str) -> None:
    assert_as_reference([f"srcaddr action\na b\n{line}\nc d\n".encode()])


@pytest.mark.parametrize(
    "names",
    [
        "srcaddr srcaddr",
        "srcaddr src-addr",
        "srcaddr ${srcaddr}",
        "srcaddr sourceaddress",
        "windowstart start_time",
        "eni account interface-id",
        "srcaddr dstaddr new-field new-field",
        f"srcaddr dstaddr {'x' * 129}",
        " ".join(["srcaddr", "dstaddr", "action", *(f"x{n}" for n in range(MAX_FIELDS))]),
    ],
    ids=lambda names: names[:30],
)
def test_headers_that_cannot_be(names: str) -> None:
    tokens = names.split(" ")
    with pytest.raises(reference.Unreadable, match=r"^format$"):
        reference.header_of(tokens)
    if 2 * sum(reference.known_field(token) is not None for token in tokens) >= len(tokens):
        with pytest.raises(FormatError, match="the header"):
            header_format(tuple(token.encode() for token in tokens))
    with pytest.raises(UsageError, match=r"^--format: the header"):
        declared_format(names)


def test_as_many_fields_as_are_allowed() -> None:
    known = [name.encode() for name in reference.VPC]
    unknown = [f"x{n}".encode() for n in range(len(known))]
    format_ = header_format((*known, *unknown))
    assert format_ is not None
    assert len(format_.unknown_fields) == len(unknown)
    assert len(declared_format(" ".join(f"x{n}" for n in range(MAX_FIELDS))).fields) == MAX_FIELDS


def test_declared_formats() -> None:
    default = declared_format(" default ")
    assert [field.name for field in default.fields] == list(DEFAULT_FORMAT)
    aws = declared_format("${version}  ${account-id}\t${start}")
    assert [field.name for field in aws.fields] == ["version", "account-id", "start"]
    assert declared_format("version account-id start") == aws


@pytest.mark.parametrize("text", ["", "  ", "version,srcaddr", "1 2", "version '${start}'", "é"])
def test_no_formats(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--format: "):
        declared_format(text)


@pytest.mark.parametrize(
    ("format", "message"),
    [
        (
            "version accout-id",
            "'accout-id' is not a field of AWS's flow logs; did you mean account-id?",
        ),
        (
            "${version} ${src_adr}",
            "'src_adr' is not a field of AWS's flow logs; did you mean srcaddr?",
        ),
        ("destination-prot", "did you mean dstport?"),
        ("version zzz", "'zzz' is not a field of AWS's flow logs. If the logs have it, name it in"),
    ],
)
def test_names_that_aws_does_not_have(tmp_path: Path, format: str, message: str) -> None:
    with pytest.raises(UsageError, match=r"--format: .*--allow-unknown-fields\.$") as error:
        declared_formats(format)
    assert message in error.value.reason
    (tmp_path / "formats.toml").write_text(f"[prefixes]\na = '{format}'")
    with pytest.raises(UsageError, match=r"^--formats: 'a' in ") as error:
        declared_formats(None, str(tmp_path / "formats.toml"))
    assert message in error.value.reason
    admitted = ("zzz", "ACCOUT_ID", "${src-adr}", "destination-prot")
    assert declared_formats(format, allow_unknown_fields=admitted).default == declared_format(
        format
    )
    found = declared_formats(None, str(tmp_path / "formats.toml"), allow_unknown_fields=admitted)
    assert found.prefixes == {"a": declared_format(format)}


@pytest.mark.parametrize("name", ["", "a b", "1", "a,b"])
def test_names_that_cannot_be_admitted(name: str) -> None:
    with pytest.raises(UsageError, match=r"^--allow-unknown-fields: "):
        declared_formats("default", allow_unknown_fields=[name])


def test_the_later_fields_of_one_table_are_known_in_the_other() -> None:
    assert declared_formats("tgw-id traffic-path").default == declared_format("tgw-id traffic-path")


def test_names_of_unknown_fields_stay_as_they_are() -> None:
    format_ = declared_format("new-field srcaddr New_Field new_field date source_uri ${x}")
    assert [field.name for field in format_.unknown_fields] == [
        *("new-field", "New_Field", "new_field", "date", "source_uri", "x")
    ]
    assert len(declared_format(f"srcaddr {'x' * 128}").unknown_fields) == 1
    (action,) = declared_format("tgw-id ACTION").unknown_fields
    assert action.name == "action"  # AWS's, though transit gateways have none.


@pytest.mark.parametrize(
    ("line", "tokens", "comment"),
    [
        (b"", (), False),
        (b" \t ", (), False),
        (b"\r", (), False),
        (b"a b", (b"a", b"b"), False),
        (b"  a\t\tb \r", (b"a", b"b"), False),
        (b"#", (), True),
        (b" # a b", (), True),
        (b"a #b c", (b"a",), True),
        (b"a b#c", (b"a", b"b#c"), False),
        ("é".encode(), ("é".encode(),), False),
    ],
)
def test_split_line(line: bytes, tokens: tuple[bytes, ...], comment: bool) -> None:
    split = split_line(line)
    assert split is not None
    assert (split.tokens, split.comment) == (tokens, comment)


@pytest.mark.parametrize("line", [b"a\rb", b"a \xff", b"a #\xff", b"\xff", b"a #\rb"])
def test_split_line_of_no_text(line: bytes) -> None:
    assert split_line(line) is None


def test_long_lines_of_names_are_not_kept() -> None:
    """Lines of megabytes that may be headers would stay in memory."""
    before = formats._header_format.cache_info().currsize
    assert header_format((b"x" * 10_000, b"y")) is None
    assert header_format((b"name",) * 600) is None
    assert formats._header_format.cache_info().currsize == before
