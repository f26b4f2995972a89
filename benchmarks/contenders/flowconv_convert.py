"""flowconv's own command line, in the process that this one becomes."""

import os
import sys

from contenders.task import given_task


def main() -> None:
    task = given_task()
    command = [sys.executable, "-m", "flowconv", "convert", task.source, task.dest]
    os.execv(sys.executable, [*command, "--workers", str(task.threads), "--json"])


if __name__ == "__main__":
    main()
