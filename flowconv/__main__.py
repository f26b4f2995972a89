"""python -m flowconv, and the command flowconv."""

import gc


def run() -> None:
    """Run the command line in a process of its own."""
    # Imports make many objects and no garbage; looking for it takes a tenth of the time of a short
    # run. The command line enables it again.
    gc.disable()
    from flowconv.cli import app

    app.run()


if __name__ == "__main__":
    run()
