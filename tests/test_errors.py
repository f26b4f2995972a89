"""How messages show what others wrote."""

import pytest

from flowconv.errors import FormatError, ParseError, quote


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("srcport", "'srcport'"),
        (b"srcport", "'srcport'"),
        ("x" * 40, "'" + "x" * 40 + "'"),
        ("x" * 41, "'" + "x" * 39 + "…'"),
        ("\x1b" * 10, "'" + r"\x1b" * 10 + "'"),
        ("\x1b" * 11, "'" + r"\x1b" * 9 + "…'"),
        ("\U000e0001" * 50, "'" + r"\U000e0001" * 3 + "…'"),
        (b"\xff" * 8, "'" + r"\\xff" * 8 + "'"),
        (b"\xff" * 50, "'" + r"\\xff" * 7 + r"\\xf" + "…'"),
        ("'" * 41, '"' + "'" * 39 + '…"'),
        ("é" * 1_000_000, "'" + "é" * 39 + "…'"),
    ],
    ids=range(11),
)
def test_at_most_40_characters_are_shown(token: bytes | str, shown: str) -> None:
    assert quote(token) == shown
    assert len(shown) <= 42


def test_a_place_is_set_by_who_knows_it() -> None:
    with pytest.raises(ParseError) as caught:
        raise ParseError("found 13 fields.").at("s3://b/x", 41)
    assert str(caught.value) == "s3://b/x: line 41: found 13 fields."
    assert (
        str(caught.value.at("https://user:SECRET@host/x")) == "https://…@host/x: found 13 fields."
    )


def test_the_shape_stays_unless_another_is_set() -> None:
    error = FormatError("no fields.", shape="json")
    assert error.at("s3://b/x", 1).shape == "json"
    assert error.at("s3://b/x", shape="parquet").shape == "parquet"
    assert FormatError("no fields.").shape is None
