"""OSError -> StorageError, with advice."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from flowconv.errors import StorageError


@contextmanager
def storage_errors(uri: str) -> Iterator[None]:
    """Turn OSError into StorageError, with advice.

    Raises:
        StorageError: In place of an OSError.
    """
    try:
        yield
    except OSError as exc:
        raise StorageError(explain_os_error(exc), uri=uri) from exc


_DENIED = (
    "access is denied. Check the permissions. What is denied of SOURCE can also be left out with "
    "--exclude."
)
_ADVICE = {
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.ENOENT: "there is no such file; it may have been removed during the run. Run again.",
    errno.EISDIR: "this is a folder, where a file was expected.",
    errno.ENOTDIR: "a part of this path is a file, where a folder was expected.",
    errno.EEXIST: "a part of this path is a file, where a folder was expected.",
    errno.ENOSPC: "the disk is full. Make room and run again; what is published stays valid.",
    errno.EDQUOT: "the disk quota is used up. Make room and run again; what is published stays "
    "valid.",
    errno.EFBIG: "the file is larger than the file system or the shell's limit (ulimit -f) allows. "
    "Raise it, or give a smaller --target-file-size.",
    errno.EROFS: "the file system is read-only. Choose another place.",
    errno.EMFILE: "too many files are open. Raise the limit (ulimit -n), or use fewer workers.",
    errno.ENAMETOOLONG: "the name is too long for this file system.",
    errno.ELOOP: "this link leads to itself. Remove it.",
    errno.EIO: "the device reports an error. Check the disk.",
    errno.ESTALE: "the network share was lost. Run again when it is back.",
}


def explain_os_error(exc: OSError) -> str:
    """Return what an OSError means and what to do."""
    reason = exc.strerror or str(exc)
    return _ADVICE.get(exc.errno or 0) or f"the operating system reports: {reason}."
