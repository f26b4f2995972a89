"""What is said if the compiled library is not there, or is another one."""

from pathlib import Path

import pytest

from flowconv.errors import KernelError
from flowconv.kernel import library
from flowconv.kernel.library import LIBRARY_VARIABLE


@pytest.mark.parametrize("content", [None, b"", b"no library"])
def test_a_library_that_does_not_load(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "libflowconv.so"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(LIBRARY_VARIABLE, str(path))
    with pytest.raises(KernelError, match=r"cannot be loaded: .*Install flowconv again"):
        library.library.__wrapped__()


def test_a_library_of_another_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_API_VERSION", 0)
    with pytest.raises(KernelError, match="has version 10, and version 0 is needed"):
        library.library.__wrapped__()
