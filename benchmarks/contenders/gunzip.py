"""The floor: gunzip every file and throw the text away. Nothing that reads gzip can be cheaper."""

import threading
from concurrent.futures import ThreadPoolExecutor

from isal import igzip

from contenders.task import given_task

# Used again and again: whole objects at once take twice the CPU time, for new pages of memory.
BUFFER_BYTES = 1 << 20

of_thread = threading.local()


def main() -> None:
    task = given_task()
    files = [file for group in task.groups for file in group.files]
    with ThreadPoolExecutor(task.threads, initializer=make_buffer) as pool:
        for _ in pool.map(gunzip, files):  # igzip releases the GIL
            pass


def make_buffer() -> None:
    of_thread.buffer = bytearray(BUFFER_BYTES)


def gunzip(file: str) -> None:
    with igzip.open(file) as text:  # type: ignore[no-untyped-call]
        while text.readinto(of_thread.buffer):
            pass


if __name__ == "__main__":
    main()
