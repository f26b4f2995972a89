"""python -m flowconv, and the command flowconv."""

import gc
import os
import sys


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
    from flowconv.cli import app

    app.run()


if __name__ == "__main__":
    run()
