"""python -m flowconv, and the command flowconv."""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def run() -> None:
    """Run the command line in a process of its own."""
    # Imports make many objects and no garbage; looking for it takes a tenth of the time of a short
    # run. The command line enables it again.
    gc.disable()
    # Nothing here multiplies matrices; numpy's library for it would start a thread for each core.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if sys.platform == "linux":
        # With Arrow's own allocator flowconv compact takes 60 MB and a tenth of the time more, and
        # flowconv convert 30 MB (benchmarks/README.md, "compact").
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    with _silently_stopped():
        from flowconv.cli import app

    try:
        app.run()
    except SystemExit as end:
        _leave(end.code)


@contextmanager
def _silently_stopped() -> Iterator[None]:
    """Let Ctrl-C end the process: in the midst of an import it would be a traceback."""
    before = signal.getsignal(signal.SIGINT)
    # It is ignored after nohup, or & in a script.
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, before)


def _leave(code: object) -> None:
    """End the process at once: what is to be written and closed has been.

    To take Python down, piece by piece, takes 0.03 to 0.05 s, a tenth of `flowconv status`.
    """
    for stream in (sys.stdout, sys.stderr):
        # A closed one is None, and of a full one the command has told.
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    run()
