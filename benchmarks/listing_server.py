"""A bucket of S3 with keys that are made up; it answers ListObjectsV2, after some time.

    python benchmarks/listing_server.py --keys 100000 --days 30 --delay-ms 30

prints the port that it listens on, and runs until its standard input ends. It has the keys of flow
logs, below `AWSLogs/`, in 4 accounts and 4 regions. None can be fetched.
"""

import argparse
import asyncio
import sys
from bisect import bisect_left, bisect_right
from contextlib import suppress
from datetime import date, timedelta
from itertools import product
from urllib.parse import parse_qs, urlsplit

_ACCOUNTS = [f"{number:012d}" for number in range(123456789012, 123456789016)]
_REGIONS = ("ap-southeast-2", "eu-central-1", "us-east-1", "us-west-2")
_FIRST_DAY = date(2026, 1, 1)
_PAGE = 1000


def make_keys(number: int, days: int) -> list[str]:
    """Return so many keys, in their order."""
    folders = list(product(_ACCOUNTS, _REGIONS, range(days)))
    keys = []
    for place, (account, region, day) in enumerate(folders):
        of_day = _FIRST_DAY + timedelta(days=day)
        folder = f"AWSLogs/{account}/vpcflowlogs/{region}/{of_day:%Y/%m/%d}/"
        objects = number * (place + 1) // len(folders) - number * place // len(folders)
        keys += [
            f"{folder}{account}_vpcflowlogs_{region}_fl-0123456789abcdef0_{of_day:%Y%m%d}"
            f"T{minute // 60 % 24:02d}{minute % 60:02d}Z_{minute:08x}.log.gz"
            for minute in range(objects)
        ]
    return sorted(keys)


class Bucket:
    """The keys, and answers about them."""

    def __init__(self, keys: list[str]) -> None:
        self._keys = keys

    def list(self, request: dict[str, str]) -> str:
        """Return ListObjectsV2's answer."""
        keys, prefix = self._keys, request.get("prefix", "")
        after = request.get("continuation-token") or request.get("start-after", "")
        place = max(bisect_left(keys, prefix), bisect_right(keys, after))
        most = int(request.get("max-keys", _PAGE))
        entries: list[str] = []
        last = ""
        while place < len(keys) and keys[place].startswith(prefix) and len(entries) < most:
            last = keys[place]
            name, slash, _ = last[len(prefix) :].partition("/")
            if slash and "delimiter" in request:
                folder = f"{prefix}{name}/"
                last = folder[:-1] + "0"  # What follows the folder's last key.
                place = bisect_left(keys, last)
                entries.append(f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>")
            else:
                place += 1
                entries.append(
                    f"<Contents><Key>{last}</Key><LastModified>2026-02-01T00:00:00.000Z"
                    '</LastModified><ETag>"d41d8cd98f00b204e9800998ecf8427e"</ETag>'
                    "<Size>12345</Size><StorageClass>STANDARD</StorageClass></Contents>"
                )
        more = place < len(keys) and keys[place].startswith(prefix)
        token = f"<NextContinuationToken>{last}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{str(more).lower()}</IsTruncated><KeyCount>{len(entries)}</KeyCount>"
            f"{token}{''.join(entries)}</ListBucketResult>"
        )


async def main(bucket: Bucket, delay_s: float) -> None:
    """Serve until standard input ends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                query = parse_qs(urlsplit(head.split(b" ", 2)[1].decode()).query)
                await asyncio.sleep(delay_s)
                body = bucket.list({name: values[0] for name, values in query.items()}).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\n"
                    b"Content-Length: %d\r\n\r\n" % len(body) + body
                )
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, required=True, help="number of keys")
    parser.add_argument("--days", type=int, default=30, help="number of days (30)")
    parser.add_argument("--delay-ms", type=float, required=True, help="added to each request")
    arguments = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(
            main(Bucket(make_keys(arguments.keys, arguments.days)), arguments.delay_ms / 1000)
        )
