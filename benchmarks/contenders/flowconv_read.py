"""`flowconv.read` to its last batch; prints the rows."""

import flowconv
from contenders.task import given_task


def main() -> None:
    print(sum(len(batch) for batch in flowconv.read(given_task().source)))


if __name__ == "__main__":
    main()
