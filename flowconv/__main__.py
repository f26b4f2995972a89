"""python -m flowconv, and the command flowconv."""

import gc
import os


def run() -> None:
    """Run the command line in a process of its own."""
    # Imports make many objects and no garbage; looking for it takes a tenth of the time of a short
    # run. The command line enables it again.
    gc.disable()
    # Nothing here multiplies matrices; numpy's library for it would start a thread for each core.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from flowconv.cli import app

    app.run()


if __name__ == "__main__":
    run()
