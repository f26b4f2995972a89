"""The folders at the root of a lake that have its tables' files."""

import os

from flowconv.fields import is_table_folder
from flowconv.storage.interface import Storage


def table_folders(storage: Storage) -> list[str]:
    """Return the folders at the root of a lake that have tables' files, sorted.

    Raises:
        StorageError: The lake does not answer.
    """
    if storage.is_local and not os.path.isdir(storage.location("")):  # noqa: PTH112
        return []
    return [name for name in storage.list_directories() if is_table_folder(name)]
