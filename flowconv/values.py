"""Days, sizes, choices and storage options as people write them."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

from flowconv.errors import UsageError, WrongTypeError, did_you_mean, quote

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY_UNITS = {"KI": 1 << 10, "MI": 1 << 20, "GI": 1 << 30, "TI": 1 << 40}


def as_day(value: object, option: str) -> date | None:
    """Return a value that is a day: a date, a time's day in UTC, a text of one, or None.

    Raises:
        UsageError: It is none of these; a WrongTypeError if it is something else.
    """
    if isinstance(value, str):
        return parse_day(value, option)
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).date()
    if value is None or isinstance(value, date):
        return value
    raise WrongTypeError(
        f"{option}: a value of type {type(value).__name__} is not a day. Write a date, or a "
        "text such as 2026-01-14 or 2d."
    )


def check_days(since: date | None, until: date | None) -> None:
    """Check that days are in order.

    Raises:
        UsageError: They are not.
    """
    if since and until and since > until:
        raise UsageError(f"--since {since} lies after --until {until}; exchange them.")


def parse_day(text: str, option: str = "", *, today: date | None = None) -> date:
    """Return the day that `2026-01-14`, `2d` (two days ago), `today` or `yesterday` names, in UTC.

    Args:
        text: The day.
        option: Whose value it is, for the message.
        today: In place of today.

    Raises:
        UsageError: It is none of these.
    """
    today = today or datetime.now(UTC).date()
    words = {"today": 0, "yesterday": 1}
    if relative := re.fullmatch(r"([0-9]{1,5})d", text):
        words[text] = int(relative[1])
    if text in words:
        return today - timedelta(days=words[text])
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option}{': ' * bool(option)}{quote(text)} is not a day; write 2026-01-14, or 2d for "
            "two days ago, today or yesterday."
        ) from None


def parse_time(value: object, option: str) -> datetime:
    """Return the time that a datetime or a text such as `2026-01-14T10:00` names; in UTC.

    Raises:
        UsageError: It names none.
    """
    if isinstance(value, str):
        text = value
        try:
            value = datetime.fromisoformat(text)
        except ValueError:
            raise UsageError(
                f"{option}: {quote(text)} is not a time; write 2026-01-14T10:00, in UTC."
            ) from None
    if not isinstance(value, datetime):
        raise WrongTypeError(
            f"{option}: a value of type {type(value).__name__} is not a time. Write a "
            "datetime, or a text such as 2026-01-14T10:00."
        )
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def parse_size(text: str, option: str = "") -> int:
    """Return the bytes that `256MB`, `600M`, `1.5GiB` or `1000000` names.

    1 MB is 1,000,000 bytes, as in reports; 1 MiB is 1,048,576.

    Args:
        text: The size.
        option: Whose value it is, for the message.

    Raises:
        UsageError: It is not a size.
    """
    pattern = r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*((?:[KMGT]I?)?)B?"
    match = re.fullmatch(pattern, text.strip().upper())
    if match is None:
        raise UsageError(
            f"{option}{': ' * bool(option)}{quote(text)} is not a size; write 256MB, 1.5GB or a "
            "number of bytes."
        )
    return int(float(match[1]) * (_UNITS | _BINARY_UNITS)[match[2]])


def parse_storage_options(pairs: Iterable[str]) -> dict[str, str]:
    """Return `KEY=VALUE` arguments as a dictionary; the values are not shown in errors.

    Raises:
        UsageError: An argument has no `=` or no value, or two are of one key.
    """
    options: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError("a storage option is written KEY=VALUE, such as anon=true.")
        if name in options:
            raise UsageError("a storage option is given twice. Choose one value.")
        options[name] = value
    return options


def check_choice(value: object, choices: Sequence[str], option: str) -> None:
    """Check that a value is one of several.

    Raises:
        UsageError: It is another; the message says which may be meant. A WrongTypeError if it is
            no text.
    """
    if not isinstance(value, str):
        raise WrongTypeError(
            f"{option}: a value of type {type(value).__name__} is not one of {', '.join(choices)}."
        )
    if value not in choices:
        raise UsageError(
            f"{option}: {quote(value)} is not one of {', '.join(choices)}."
            + did_you_mean(value, choices)
        )


def require(value: object, kind: type, name: str) -> None:
    """Check the type of an argument.

    Raises:
        WrongTypeError: It has another one.
    """
    if not isinstance(value, kind):
        raise WrongTypeError(
            f"{name}: found a value of type {type(value).__name__}, expected a {kind.__name__}."
        )


def take_texts(value: object, name: str) -> tuple[str, ...] | None:
    """Return an argument that is several texts, or one text alone.

    Raises:
        WrongTypeError: It is of another kind.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return (value,)
    if isinstance(value, bytes) or not isinstance(value, Iterable):
        texts: list[object] = [value]
    else:
        texts = list(value)
    for text in texts:
        if not isinstance(text, str):
            zeros = " A number loses an account's zeros." if isinstance(text, int) else ""
            raise WrongTypeError(
                f"{name}: a value of type {type(text).__name__} is not text.{zeros} Write it in "
                "quotes."
            )
    return tuple(map(str, texts))


def take_accounts(value: object, name: str) -> tuple[str, ...] | None:
    """Return an argument that is several accounts, or one alone.

    Raises:
        UsageError: One cannot be an account; a WrongTypeError if it is no text.
    """
    accounts = take_texts(value, name)
    for account in accounts or ():
        check_account(account, name)
    return accounts


def check_account(text: str, option: str) -> None:
    """Check that a text can be an account.

    Raises:
        UsageError: It cannot.
    """
    if not re.fullmatch("[0-9]{12}", text):
        raise UsageError(
            f"{option}: {quote(text)} is not an account; write its 12 digits, zeros included."
        )
