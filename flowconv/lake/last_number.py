"""ledger.json: the number of the ledger's last record, by which its loss is found."""

from flowconv.errors import LakeError, quote
from flowconv.lake.checksums import seal, unseal
from flowconv.lake.paths import LAST_NUMBER, RECORD_DIGITS
from flowconv.storage.interface import Storage


class LastNumber:
    """The number of the last record as ledger.json has it; 0: there is no such file.

    Raises:
        LakeError: ledger.json is damaged.
        StorageError: The lake does not answer.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.noted = _read(storage)

    def note(self, number: int) -> None:
        """Write the number of the last record."""
        if self.noted != number:
            self._storage.write(LAST_NUMBER, seal({"last_number": number}))
            self.noted = number


def _read(storage: Storage) -> int:
    written = storage.read(LAST_NUMBER)
    if written is None:
        return 0
    try:
        number = unseal(written)["last_number"]
        if type(number) is not int or not 0 < number < 10**RECORD_DIGITS:
            raise ValueError(f"{quote(str(number))} is not the number of a record")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LakeError(
            f"{LAST_NUMBER} is damaged ({error}). Restore it from a copy. If there is none, "
            "delete it, and let flowconv verify check the lake.",
            uri=storage.root,
        ) from error
    return number
