"""A manifest of an Iceberg table -> the paths of the files that count.

pyiceberg makes an object of each entry, with counts and bounds of columns: of 10,000 files this
takes 0.35 s, to skip all but the paths 0.12 s. Its own way to leave fields out, a schema to read,
fails at maps.
"""

from collections.abc import Mapping
from typing import Any

from pyiceberg.avro.file import AvroFile
from pyiceberg.avro.reader import Reader, StructReader
from pyiceberg.io import FileIO
from pyiceberg.manifest import ManifestEntryStatus, ManifestFile
from pyiceberg.typedef import Record

# Named as in https://iceberg.apache.org/spec/#manifests, with the fields inside each.
_WANTED: Mapping[str, Any] = {"status": {}, "data_file": {"file_path": {}}}


def live_paths(manifest: ManifestFile, io: FileIO) -> list[str]:
    """Return the paths of a manifest's files, without those that it says were removed."""
    with AvroFile[Record](io.new_input(manifest.manifest_path)) as entries:
        entries.reader = _picked(entries.reader, entries.schema.as_struct(), _WANTED)
        return [entry[1][0] for entry in entries if entry[0] != ManifestEntryStatus.DELETED]


def _picked(reader: Any, struct: Any, wanted: Mapping[str, Any]) -> StructReader:
    """Return a reader of a struct that gives only some of its fields, and skips the others."""
    places = {name: place for place, name in enumerate(wanted)}
    readers: list[tuple[int | None, Reader]] = []
    for (_, of_field), field in zip(reader.field_readers, struct.fields, strict=True):
        if inner := wanted.get(field.name):
            of_field = _picked(of_field, field.field_type, inner)  # noqa: PLW2901
        readers.append((places.get(field.name), of_field))
    return StructReader(tuple(readers), Record, struct)
