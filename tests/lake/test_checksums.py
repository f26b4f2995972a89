"""Sealed JSON: what was written comes back, and any other bytes are refused."""

from typing import Any

import pytest

from flowconv.lake.checksums import seal, unseal

RECORD = {"number": 7, "text": 'a "quoted",}\nname', "none": None, "list": [1, [2]]}


@pytest.mark.parametrize("record", [RECORD, {"crc32": "00000000"}, {"a": {"b": "é\udc80"}}])
def test_round_trip(record: dict[str, Any]) -> None:
    assert unseal(seal(record)) == record


def test_form_on_disk() -> None:
    assert seal({"number": 7}) == b'{"number":7,"crc32":"145988d2"}'


SEALED = seal(RECORD)


@pytest.mark.parametrize("place", range(len(SEALED)))
def test_any_changed_byte_is_found(place: int) -> None:
    changed = bytearray(SEALED)
    changed[place] ^= 1
    with pytest.raises(ValueError, match="its checksum does not fit"):
        unseal(bytes(changed))


@pytest.mark.parametrize(
    "written",
    [b"", b"{}", b"[]", SEALED[:-1], SEALED[1:], SEALED + b"\n", SEALED + SEALED, b"\xff" * 40],
    ids=["empty", "no seal", "list", "cut", "beginning cut", "longer", "twice", "no JSON"],
)
def test_other_bytes_are_refused(written: bytes) -> None:
    with pytest.raises(ValueError, match="its checksum does not fit"):
        unseal(written)
