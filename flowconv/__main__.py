"""python -m flowconv, and the command flowconv."""

import gc

# Imports make many objects and no garbage; looking for it takes a tenth of the time of a short run.
# `run` enables it again.
gc.disable()

from flowconv.cli.app import run  # noqa: E402

if __name__ == "__main__":
    run()
