"""Listings that are cut: no key is lost or given twice, and few round trips follow one another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from datetime import date
from itertools import pairwise
from xml.etree import ElementTree
from xml.sax.saxutils import unescape

import pytest
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowconv.source.keys import LogObject
from flowconv.source.listing import DayEnd, day_of, list_objects, list_with_day_ends
from flowconv.source.selection import ALL, Selection
from flowconv.storage import s3_listing
from flowconv.storage.opening import open_storage
from flowconv.storage.s3_connection import Connection
from flowconv.storage.s3_listing import PAGES_AHEAD, FolderListing, KeyListing
from flowconv.storage.s3_pages import ListedKey, Page, read_page


class Bucket:
    """Answers ListObjectsV2 as S3 does, all requests under way at once.

    Attributes:
        round_trips: How often somebody had to wait.
        requests: Those that were made.
        in_order: Whether it says so of its pages.
        answered: Which requests are answered when somebody waits: "all", "first" or "last".
    """

    def __init__(self, keys: Iterable[str], page_keys: int) -> None:
        self.keys = sorted(set(keys))
        self.page_keys = page_keys
        self.in_order = True
        self.answered = "all"
        self.round_trips = 0
        self.requests: list[dict[str, str]] = []
        self.waiting: list[tuple[_Answer, dict[str, str]]] = []

    def start(self, **request: str) -> Future[Page]:
        self.requests.append(request)
        answer = _Answer(self)
        self.waiting.append((answer, request))
        return answer

    def answer(self) -> None:
        if self.answered == "all":
            waiting, self.waiting = self.waiting, []
        else:
            waiting = [self.waiting.pop(0 if self.answered == "first" else -1)]
        assert waiting, "somebody waits for nothing"
        self.round_trips += 1
        for answer, request in waiting:
            if answer.set_running_or_notify_cancel():
                answer.set_result(self._page(request))

    def _page(self, request: dict[str, str]) -> Page:
        prefix, delimiter = request["prefix"], request.get("delimiter", "")
        after = request.get("continuation-token") or request.get("start-after", "")
        entries: list[str] = []
        for key in self.keys:
            if key.startswith(prefix):
                name, slash, _ = key[len(prefix) :].partition(delimiter or "\0")
                entry = prefix + name + slash
                if entry > after and entry not in entries[-1:]:
                    entries.append(entry)
        page = entries[: min(self.page_keys, int(request.get("max-keys", 1000)))]
        is_folder = {
            entry: bool(delimiter) and entry[len(prefix) :].endswith("/") for entry in page
        }
        return Page(
            keys=[ListedKey(entry, len(entry), "e") for entry in page if not is_folder[entry]],
            prefixes=[entry for entry in page if is_folder[entry]],
            token=page[-1] if len(page) < len(entries) else None,
            in_order=self.in_order,
        )


class _Answer(Future[Page]):
    def __init__(self, bucket: Bucket) -> None:
        super().__init__()
        self.bucket = bucket

    def result(self, timeout: float | None = None) -> Page:
        while not self.done():
            self.bucket.answer()
        return super().result(timeout)


def _wait(answers: Sequence[_Answer], return_when: str) -> None:
    assert return_when == "FIRST_COMPLETED"
    if answers:
        answers[0].bucket.answer()


@pytest.fixture(autouse=True, scope="module")
def _waits_for_the_bucket() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(s3_listing, "wait", _wait)
        yield


def answer_by(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a bucket answer the requests of storages."""
    monkeypatch.setattr(Connection, "start_list", lambda _, **request: bucket.start(**request))
    monkeypatch.setattr(Connection, "open_ahead", lambda *_: None)


def listed(bucket: Bucket, prefix: str = "", *, answers_come_early: bool = False) -> list[str]:
    keys = []
    for page in KeyListing(bucket.start, prefix).pages():
        keys += [entry.key for entry in page]
        if answers_come_early and bucket.waiting:
            bucket.answer()
    return keys


NAMES = st.sampled_from(["a", "b", "ab", "a.", "a-", "a0", "a~", "~", "", "é", "\U0001f600", "￿"])
KEYS = st.lists(st.lists(NAMES, min_size=1, max_size=5).map("/".join).filter(bool), max_size=60)


@settings(max_examples=500, deadline=None)
@given(
    KEYS,
    st.integers(1, 8),
    st.sampled_from(["", "a/", "a/b/", "/"]),
    st.booleans(),
    st.sampled_from(["all", "first", "last"]),
    st.booleans(),
)
# What may follow a folder is known last, and there is nothing.
@example([f"a/b/{n}" for n in range(6)], 4, "a/", True, "last", True)
def test_every_key_is_listed_once_and_in_order(
    keys: list[str], page_keys: int, prefix: str, in_order: bool, answered: str, early: bool
) -> None:
    bucket = Bucket(keys, page_keys)
    bucket.in_order = in_order
    bucket.answered = answered
    wanted = [key for key in bucket.keys if key.startswith(prefix)]
    assert listed(bucket, prefix, answers_come_early=early) == wanted


def days(count: int, keys: int, folder: str = "logs/2026/01/") -> list[str]:
    return [
        f"{folder}{day:02}/{number:05}" for day in range(1, count + 1) for number in range(keys)
    ]


def test_the_days_of_a_month_are_listed_side_by_side() -> None:
    bucket = Bucket(days(30, 333), 100)
    assert listed(bucket, "logs/") == bucket.keys
    # The first page, the folders that follow, and the four pages of each day.
    assert bucket.round_trips <= 8
    assert len(bucket.requests) <= 30 * 4 + 10


def test_days_with_few_keys_share_pages() -> None:
    bucket = Bucket(days(300, 10), 100)
    assert listed(bucket, "logs/") == bucket.keys
    assert len(bucket.requests) <= 2 * len(bucket.keys) / 100
    assert bucket.round_trips <= 8


def test_accounts_and_regions_are_listed_side_by_side() -> None:
    keys = [
        key
        for account in range(5)
        for region in ("eu-west-1", "us-east-1")
        for key in days(3, 250, f"{account}/vpcflowlogs/{region}/2026/01/")
    ]
    bucket = Bucket(keys, 100)
    assert listed(bucket) == bucket.keys
    assert bucket.round_trips <= 12
    assert len(bucket.requests) <= 5 * 2 * 3 * 3 + 50


def test_pages_of_one_folder_are_guessed() -> None:
    bucket = Bucket([f"logs/{number:04}" for number in range(10_000)], 100)
    assert listed(bucket, "logs/") == bucket.keys
    assert bucket.round_trips <= 30
    assert len(bucket.requests) <= 1.5 * 100


def test_pages_of_a_folder_come_while_what_follows_it_is_looked_for() -> None:
    first = [f"logs/2026/01/14/{number:04}" for number in range(600)]
    bucket = Bucket([*first, "logs/2026/01/15/0000"], 100)
    assert listed(bucket, "logs/") == bucket.keys
    # The first page, all others of the day with the folders above it, and the next day.
    assert bucket.round_trips == 3
    # What is most waited for comes first.
    assert [request["prefix"] for request in bucket.requests[1:3]] == [
        "logs/2026/01/14/",
        "logs/2026/01/",
    ]


@pytest.mark.parametrize(
    "names",
    [
        [f"{n:08x}" for n in range(0, 1 << 32, 1 << 23)],
        [f"fl-{n % 5}_20260114T{n // 60:02}{n % 60:02}Z_{n:x}" for n in range(1440)],
        ["x" * n for n in range(1, 500)],
        [f"{n * n * n:012}" for n in range(500)],
        [chr(0x20 + n * 37 % 900) + str(n) for n in range(500)],
    ],
    ids=["hexadecimal", "times", "ever longer", "ever farther", "any characters"],
)
def test_wrong_guesses_cost_few_requests(names: list[str]) -> None:
    bucket = Bucket([f"logs/{name}" for name in names], 50)
    assert listed(bucket, "logs/") == bucket.keys
    pages = len(bucket.keys) / 50
    assert len(bucket.requests) <= 1.5 * pages + 20


def test_a_listing_that_is_left_asks_for_no_more() -> None:
    bucket = Bucket(days(1000, 200), 100)
    pages = KeyListing(bucket.start, "logs/").pages()
    for _ in range(5):
        next(pages)
        assert len(bucket.requests) - 5 <= PAGES_AHEAD + 10
    pages.close()  # type: ignore[attr-defined]
    asked = len(bucket.requests)
    assert next(pages, None) is None
    assert len(bucket.requests) == asked


def test_folders_and_keys_of_a_folder() -> None:
    bucket = Bucket([*days(30, 2), "logs/2026/01/x"], 10)
    listing = FolderListing(bucket.start, "logs/2026/01/")
    listing.begin()
    assert listing.whole() is None
    pages = list(listing.pages())
    assert [p for page in pages for p in page.prefixes] == [
        f"logs/2026/01/{day:02}/" for day in range(1, 31)
    ]
    assert [entry.key for page in pages for entry in page.keys] == ["logs/2026/01/x"]


@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        (ALL, range(1, 11)),
        (Selection(since=date(2026, 1, 3), until=date(2026, 1, 5)), range(3, 6)),
    ],
    ids=["all", "some days"],
)
@pytest.mark.parametrize("above", ["", "team/net/"], ids=["at the top", "below own folders"])
def test_folders_are_walked_level_by_level(
    above: str, selection: Selection, wanted: range, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [
        key
        for account in range(100_000_000_000, 100_000_000_010)
        for region in ("eu-west-1", "us-east-1", "us-west-2")
        for key in days(10, 1, f"{above}AWSLogs/{account}/vpcflowlogs/{region}/2026/01/")
    ]
    bucket = Bucket(keys, 1000)
    answer_by(bucket, monkeypatch)
    found = [o.path for o in list_objects(open_storage("s3://bucket"), selection)]
    assert found == [key for key in bucket.keys if int(key.split("/")[-2]) in wanted]
    # One after the other, some 40 or 170.
    assert bucket.round_trips <= 20


@pytest.mark.parametrize(
    ("above", "more"), [("", 0), ("team/net/", 2)], ids=["at the top", "below"]
)
def test_few_round_trips_come_before_the_first_object(
    above: str, more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = f"{above}AWSLogs/100000000000/vpcflowlogs/eu-west-1/2026/01/"
    bucket = Bucket([*days(1, 3900, folder), f"{folder}02/x"], 1000)
    answer_by(bucket, monkeypatch)
    found = list_objects(open_storage("s3://bucket"))
    # The root; then all folders that hold the first object, and its page.
    assert next(found).path == bucket.keys[0]
    assert bucket.round_trips <= 2 + more
    # Then its other pages, beside what may follow the folder, and that.
    assert [o.path for o in found] == bucket.keys[1:]
    assert bucket.round_trips <= 4 + more


SERVICE = "AWSLogs/{}/vpcflowlogs/{}/2026/01/"
OF_ACCOUNTS = [
    key
    for account in ("111", "222")
    for region in ("eu-west-1", "us-east-1")
    for key in days(3, 2, SERVICE.format(account, region))
]


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ([], (12, 8)),
        (["AWSLogs/111/CloudTrail/x", "AWSLogs/aws-account-id=333/x"], (12, 8)),
        # Of the same account and days, perhaps.
        (["AWSLogs/aws-account-id=222/x"], (6, 4)),
        (["team/x.log"], (0, 0)),
        # With days chosen, regions are folders of their own.
        (days(1, 2, "AWSLogs/222/vpcflowlogs/old/2026/01/"), (12, 6)),
        (["AWSLogs/222/vpcflowlogs/x.log"], (12, 8)),
    ],
    ids=["accounts", "others", "both layouts", "other folders", "no region", "no folders"],
)
@pytest.mark.parametrize("selection", [ALL, Selection(since=date(2026, 1, 2))], ids=["", "since"])
def test_days_end_when_no_other_folder_may_have_them(
    selection: Selection, more: list[str], wanted: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = Bucket([*OF_ACCOUNTS, *more], 4)
    answer_by(bucket, monkeypatch)
    storage = open_storage("s3://bucket")
    found = list(list_with_day_ends(storage, selection))
    objects = [item for item in found if isinstance(item, LogObject)]
    assert objects == list(list_objects(storage, selection))
    ends = [item for item in found if isinstance(item, DayEnd)]
    assert len(ends) == len(set(ends))
    assert len(ends) == wanted[selection is not ALL]
    for end in ends:
        place = found.index(end)
        assert any(day_of(o) == end for o in found[:place] if isinstance(o, LogObject))
        assert not any(day_of(o) == end for o in found[place:] if isinstance(o, LogObject))


ANSWER = '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{}</ListBucketResult>'
ENTRY = "<Contents><Key>{}</Key><Size>7</Size><ETag>&quot;e&quot;</ETag></Contents>"


PLAIN_ENTRY = (
    "<Contents><Key>{}</Key><LastModified>2026-01-14T00:00:00.000Z</LastModified>"
    "<ETag>&quot;e&quot;</ETag><Size>7</Size><Owner><ID>i</ID></Owner></Contents>"
)
ORDERS = {"searched": PLAIN_ENTRY, "parsed": ENTRY}


@pytest.mark.parametrize("entry", ORDERS.values(), ids=ORDERS)
def test_an_answer_is_read(entry: str) -> None:
    text = (
        "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
        "<NextContinuationToken>t=</NextContinuationToken>"
        + entry.format("b%0A+%2B")
        + entry.format("a")
        + "<CommonPrefixes><Prefix>c%C3%A9/</Prefix></CommonPrefixes>"
    )
    assert read_page(ANSWER.format(text).encode()) == Page(
        keys=[ListedKey("a", 7, "e"), ListedKey("b\n +", 7, "e")],
        prefixes=["cé/"],
        token="t=",
        in_order=False,
    )


@pytest.mark.parametrize("entry", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("key", ["a+%20", "é", "a&amp;b&lt;"])
def test_an_answer_without_encoding_and_name_space_is_read(entry: str, key: str) -> None:
    page = read_page(f"<ListBucketResult>{entry.format(key)}</ListBucketResult>".encode())
    assert page is not None
    assert (page.keys, page.token) == ([ListedKey(unescape(key), 7, "e")], None)


def test_a_key_in_a_comment_is_none() -> None:
    comment = f"<!-- {PLAIN_ENTRY.format('no')} -->"
    page = read_page(ANSWER.format(comment + PLAIN_ENTRY.format("yes")).encode())
    assert page is not None
    assert [entry.key for entry in page.keys] == ["yes"]


def test_an_error_is_left_to_botocore() -> None:
    assert read_page(b"<Error><Code>SlowDown</Code></Error>") is None


@pytest.mark.parametrize("end", [1, 20, 60])
def test_an_answer_that_breaks_off(end: int) -> None:
    with pytest.raises(ElementTree.ParseError):
        read_page(ANSWER.format(PLAIN_ENTRY.format("a") * 3).encode()[:-end])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("<html/>", "begins with <html>"),
        (ANSWER.format("<Contents><Size>7</Size></Contents>"), "lacks Key"),
        (ANSWER.format("<Contents><Key>a</Key></Contents>"), "lacks Size"),
        (ANSWER.format(ENTRY.replace("7", "x")), "a size that is no number"),
        (ANSWER.format(PLAIN_ENTRY.replace("7", "x")), "a size that is no number"),
        (ANSWER.format("<CommonPrefixes/>"), "lacks Prefix"),
        (ANSWER.format("<IsTruncated>true</IsTruncated>"), "lacks NextContinuationToken"),
    ],
)
def test_an_answer_that_is_no_listing(answer: str, message: str) -> None:
    with pytest.raises(ResponseParserError, match=message):
        read_page(answer.encode())


def test_groups_of_the_bucket_are_in_order() -> None:
    """The bucket that the other tests stand on lists as S3 does."""
    bucket = Bucket(days(3, 3), 2)
    page = bucket._page({"prefix": "logs/", "delimiter": "/"})
    assert (page.keys, page.prefixes) == ([], ["logs/2026/"])
    keys = bucket._page({"prefix": "logs/"}).keys
    assert all(first.key < second.key for first, second in pairwise(keys))
