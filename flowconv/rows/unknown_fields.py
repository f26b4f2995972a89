"""Fields that a table lacks: columns of text -> one column with a JSON object for each row."""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# What a string of JSON cannot hold as it is.
_SPECIAL = r'["\\\x00-\x1f]'

# The stubs of pyarrow do not know that scalars are taken.
_joined: Any = pc.binary_join_element_wise

# With null_handling="skip", Arrow 26 leaves out rows of which all values are null.
_NULL_IS_EMPTY = {"null_handling": "replace", "null_replacement": ""}


def as_json(fields: Mapping[str, "pa.ChunkedArray[Any]"], rows: int) -> "pa.ChunkedArray[Any]":
    """Write the values of each row as a JSON object, such as `{"new-field":"a"}`.

    Args:
        fields: Name -> one text for each row, plain or as dictionaries. Names have nothing that
            JSON would escape.
        rows: How many rows there are.

    Returns:
        Text as a dictionary; null for rows without a value. Values that are null are left out.
        Only distinct values are written, so fields of few values take little time.
    """
    members = [_members(name, column) for name, column in fields.items()]
    members = [column for column in members if column.null_count < rows]
    if not members:
        return pa.chunked_array([pa.nulls(rows)])
    if len(members) == 1:
        joined = members[0]
    else:
        texts = _joined(*(column.dictionary_decode() for column in members), "", **_NULL_IS_EMPTY)
        joined = pc.if_else(pc.equal(texts, pa.scalar("")), None, texts).dictionary_encode()
    objects = _joined("{", pc.utf8_slice_codeunits(joined.dictionary, 1), "}", "")
    return pa.chunked_array([pa.DictionaryArray.from_arrays(joined.indices, objects)])


def _members(name: str, column: "pa.ChunkedArray[Any]") -> "pa.DictionaryArray[Any, Any]":
    """Write each value as a member of a JSON object, with a comma before it."""
    coded: Any = column.combine_chunks()
    if not pa.types.is_dictionary(coded.type):
        coded = coded.dictionary_encode()
    values = coded.dictionary
    quoted = _joined(f',"{name}":"', values, '"', "")
    is_special: Any = pc.match_substring_regex(values, _SPECIAL)
    texts = [
        f',"{name}":{json.dumps(value, ensure_ascii=False)}'
        for value in values.filter(is_special).to_pylist()
    ]
    if texts:
        quoted = pc.replace_with_mask(quoted, is_special, pa.array(texts, pa.string()))
    return pa.DictionaryArray.from_arrays(coded.indices, quoted)
