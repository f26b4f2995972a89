"""Bytes that an HTTP server sends -> the answer to one request."""

import re

from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]

_MOST_HEAD_BYTES = 64 << 10

_FIRST_LINE = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?!\S)")


class Answer:
    """An answer, which is being received.

    Attributes:
        status: HTTP's; 0 before it is known.
        is_whole: Whether all of it has come.
        may_follow: Whether the connection takes another request when this is whole.
        missing_bytes: Of the body, as far as it is known.
    """

    def __init__(self) -> None:
        self.status = 0
        self.is_whole = False
        self.may_follow = False
        self.missing_bytes = 0
        self._head = self._small_head = ""
        self._pieces: list[bytes] = []
        self._unread = b""  # What has come of the head, or of a chunk.
        self._is_chunked = False
        self._ends_with_connection = False

    @property
    def body(self) -> bytes:
        """The bytes of the body."""
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    @property
    def headers(self) -> dict[str, str]:
        """All headers, by their names in small letters."""
        _, *lines = self._head.split("\r\n")
        fields = (line.partition(":") for line in lines)
        return {name.lower(): value.strip() for name, _, value in fields}

    def header(self, name: str) -> str | None:
        """Return what a header says, the last of its name; to find a few takes less than all."""
        start = self._small_head.rfind(f"\r\n{name}:")
        if start < 0:
            return None
        value, _, _ = self._head[start + len(name) + 3 :].partition("\r\n")
        return value.strip()

    def add(self, data: bytes) -> None:
        """Take what came next.

        Raises:
            ResponseParserError: This is no answer.
        """
        if not self.status:
            data = self._add_to_head(data)
            if not self.status:
                return
        if self._is_chunked:
            self._add_to_chunks(data)
        elif self._ends_with_connection:
            self._pieces.append(data)
        else:
            self._add_to_body(data)

    def end(self) -> bool:
        """Take the end of the connection; return whether the answer is whole."""
        self.may_follow = False
        # Of others it cannot be told whether the body broke off.
        self.is_whole = self.is_whole or (self.status >= 300 and self._ends_with_connection)
        return self.is_whole

    def _add_to_head(self, data: bytes) -> bytes:
        """Read the head as soon as it is complete; return what follows it."""
        head, end, rest = (self._unread + data).partition(b"\r\n\r\n")
        if len(head) > _MOST_HEAD_BYTES:
            raise ResponseParserError("the head has no end")
        if not end:
            self._unread = head
            return b""
        self._unread = b""
        self._head = head.decode("latin-1")
        match = _FIRST_LINE.match(self._head)
        if not match:
            raise ResponseParserError("this is not HTTP")
        is_new, status = match[1] == "1", int(match[2])
        if status < 200:  # The answer comes after it.
            return self._add_to_head(rest)
        self._small_head = self._head.lower()
        self._read_framing(is_new=is_new)
        self.status = status
        return rest

    def _read_framing(self, *, is_new: bool) -> None:
        """Read how the body ends; see https://www.rfc-editor.org/rfc/rfc9112#section-6.3."""
        connection = (self.header("connection") or "").lower()
        self.may_follow = "close" not in connection and (is_new or "keep-alive" in connection)
        length = self.header("content-length")
        if (coding := self.header("transfer-encoding")) is not None:
            if coding.lower() != "chunked":
                raise ResponseParserError("the body has an unknown coding")
            self._is_chunked = True
        elif length is None:
            self._ends_with_connection = True
        elif length.isascii() and length.isdigit() and len(length) <= 18:
            self.missing_bytes = int(length)
        else:
            raise ResponseParserError("the length is no number")

    def _add_to_body(self, data: bytes) -> None:
        if len(data) > self.missing_bytes:
            # What more there is answers nothing that was asked.
            self.may_follow = False
            data = data[: self.missing_bytes]
        self._pieces.append(data)
        self.missing_bytes -= len(data)
        self.is_whole = not self.missing_bytes

    def _add_to_chunks(self, data: bytes) -> None:
        self._unread += data
        while True:
            line, end, rest = self._unread.partition(b"\r\n")
            if not end:
                return
            match = re.match(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;|$)", line)
            if not match:
                raise ResponseParserError("a chunk has no length")
            size = int(match[1], 16)
            if not size:
                # Headers may follow, up to an empty line.
                if rest.startswith(b"\r\n") or b"\r\n\r\n" in rest:
                    self.is_whole = True
                return
            if len(rest) < size + 2:
                return
            if rest[size : size + 2] != b"\r\n":
                raise ResponseParserError("a chunk has another length")
            self._pieces.append(rest[:size])
            self._unread = rest[size + 2 :]
