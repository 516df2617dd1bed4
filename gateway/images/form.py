"""A multipart form, read while it arrives: text fields in memory, files in one spooled file.

Refuses whatever two readers could take for two different forms: fields given twice, encoded parts, file names
in two forms, anything before the first or behind the last part. Refuses to know what the fields mean.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import IO, TYPE_CHECKING

from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from gateway.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PARTS = 64
MAX_FILES = 16
MAX_FILE_BYTES = 50 * 1024 * 1024
MAX_TEXT_BYTES = 256 * 1024
MAX_HEADER_BYTES = 8 * 1024
SPOOL_IN_MEMORY_BYTES = 256 * 1024
READ_BYTES = 256 * 1024
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}(\[[A-Za-z0-9_.-]{0,64}\])?")
DISPOSITION = re.compile(r"""form-data(\s*;\s*[a-z*]+=("(\\.|[^"\\])*"|[^\s";,]+))+""", re.IGNORECASE)
PARAMETER = re.compile(r";\s*(name|filename)\s*\*?=", re.IGNORECASE)
MEDIA_TYPE = re.compile(r"[a-z]+/[A-Za-z0-9.+-]{1,64}")
HEADER_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n]*")
BOUNDARY = re.compile(r"[A-Za-z0-9'()+_,./:=? -]{0,69}[A-Za-z0-9'()+_,./:=?-]")
UTF_8 = (None, "utf-8", "utf8", "us-ascii")


@dataclass(frozen=True, slots=True)
class File:
    """An uploaded file; its bytes are `length` bytes of the spool, from `start`."""

    filename: str
    content_type: str | None
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class FormPart:
    """One part: a text field or a file."""

    name: str
    value: str | File = field(repr=False)


def spool() -> IO[bytes]:
    """A file in memory while it is small, else on disk."""
    return tempfile.SpooledTemporaryFile(max_size=SPOOL_IN_MEMORY_BYTES)


@dataclass(slots=True)
class Form:
    """The parts in the order they came. Somebody must `close()` it."""

    parts: list[FormPart] = field(default_factory=list)
    spool: IO[bytes] = field(default_factory=spool)

    @property
    def fields(self) -> dict[str, str]:
        """The text fields by name."""
        return {part.name: part.value for part in self.parts if isinstance(part.value, str)}

    @property
    def files(self) -> list[tuple[str, File]]:
        return [(part.name, part.value) for part in self.parts if isinstance(part.value, File)]

    def bytes_of(self, file: File) -> Iterator[bytes]:
        """The file as it was sent, in pieces."""
        position, end = file.start, file.start + file.length
        while position < end:
            self.spool.seek(position)
            piece = self.spool.read(min(READ_BYTES, end - position))
            position += len(piece)
            yield piece

    def close(self) -> None:
        self.spool.close()


class _Parser(PushMultipartParser):  # type: ignore[misc]  # the library has no types
    """Strict in headers too: the library takes a line feed off a name, where other readers see their end."""

    def _on_segment_headerline(self, line: bytes) -> None:
        if not HEADER_LINE.fullmatch(line):
            raise _bad("A part has a malformed header.")
        super()._on_segment_headerline(line)


class FormReader:
    """Feed it a body of the content type that it was made for, then `finish()`. Raises `InvalidRequest`."""

    def __init__(self, content_type: str) -> None:
        boundary = _boundary(content_type)
        self.file_has_begun = False
        self._first, self._last = f"--{boundary}".encode(), f"--{boundary}--".encode()
        self._head, self._tail, self._carried = b"", b"", b""
        self._behind: bytes | None = None
        self._parser = _Parser(
            boundary,
            max_header_size=MAX_HEADER_BYTES,
            max_segment_size=MAX_FILE_BYTES,
            max_segment_count=MAX_PARTS,
            strict=True,
        )
        self._segment: MultipartSegment | None = None
        self._text = bytearray()
        self._start = 0
        self._length = 0
        self.form = Form()

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the body."""
        if not chunk or self._is_behind(chunk):
            return
        self._head += chunk[: len(self._first) - len(self._head)]
        if not self._first.startswith(self._head):
            raise _bad("The form must begin with its boundary.")
        try:
            for event in self._parser.parse(chunk):
                if isinstance(event, MultipartSegment):
                    self._begin(event)
                elif event is None:
                    self._end()
                else:
                    self._through(bytes(event))
        except ParserLimitReached:
            raise _bad("The form has too many or too large parts.", status=413) from None
        except MultipartError as error:
            raise _bad(f"The form cannot be read: {error}.") from None

    def finish(self) -> Form:
        """The form, once the body is complete."""
        try:
            self._parser.close()
        except MultipartError:
            raise _bad("The form broke off.") from None
        if self._behind is None:
            raise _bad("The form broke off.")
        return self.form

    def _is_behind(self, chunk: bytes) -> bool:
        """Whether the chunk came after the last boundary, where only the end of that line may stand."""
        ended = self._behind is not None
        joined = self._tail + chunk
        if self._behind is not None:
            self._behind += chunk
        elif b"\n" + self._last in joined:
            self._behind = joined.partition(b"\n" + self._last)[2]
        self._tail = joined[-len(self._last) :]
        if self._behind is not None and self._behind not in (b"", b"\r", b"\r\n"):
            raise _bad("The form goes on behind its last part.")
        return ended

    def _begin(self, segment: MultipartSegment) -> None:
        self._segment, self._start, self._length = segment, self._start + self._length, 0
        self._text.clear()
        self._carried = b"\n"  # the blank line above: a boundary right behind it begins a line
        name = segment.name or ""
        _require_plain_head(segment)
        if not NAME.fullmatch(name):
            raise _bad("A part has no plain name.")
        if "[]" not in name and any(part.name == name for part in self.form.parts):
            raise _bad(f"The field '{name}' appears twice.", param=name)
        if segment.filename is None:
            _require_utf_8(segment)
            return
        self.file_has_begun = True
        if len(self.form.files) >= MAX_FILES + 1:
            raise _bad(f"A form may carry at most {MAX_FILES} images and a mask.")
        if not segment.filename.isprintable():
            raise _bad("A file name has characters that cannot be printed.")

    def _through(self, chunk: bytes) -> None:
        assert self._segment is not None, "the parser begins a segment first"  # noqa: S101
        joined = self._carried + chunk
        if b"\n" + self._first in joined or b"\r" + self._first in joined:
            raise _bad("The boundary begins a line inside a part, where some readers would end it.")
        self._carried = joined[-len(self._first) :]
        if self._segment.filename is not None:
            self.form.spool.write(chunk)
            self._length += len(chunk)
        else:
            self._text += chunk
            if len(self._text) > MAX_TEXT_BYTES:
                raise _bad("A field of the form is too long.", status=413)

    def _end(self) -> None:
        segment = self._segment
        assert segment is not None, "the parser begins a segment first"  # noqa: S101
        name = segment.name or ""
        if segment.filename is None:
            try:
                text = self._text.decode("utf-8")
            except UnicodeDecodeError:
                raise _bad(f"The field '{name}' is not valid UTF-8.", param=name) from None
            if "\x00" in text:
                raise _bad(f"The field '{name}' contains a NUL character.", param=name)
            self.form.parts.append(FormPart(name, text))
            return
        content_type = segment.header("Content-Type")
        if content_type is not None and not MEDIA_TYPE.fullmatch(content_type):
            raise _bad("A file's content type is malformed.", param=name)
        file = File(segment.filename, content_type, self._start, self._length)
        self.form.parts.append(FormPart(name, file))


def _boundary(content_type: str) -> str:
    if content_type.lower().count("boundary=") != 1:
        raise _bad("The content type must name one boundary.")
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    if not BOUNDARY.fullmatch(boundary):
        raise _bad("The content type's boundary is malformed.")
    return str(boundary)


def _require_plain_head(segment: MultipartSegment) -> None:
    """A part says once what it is, and in one way."""
    names = [header.lower() for header, _ in segment.headerlist]
    if len(names) != len(set(names)):
        raise _bad("A part has a header twice.")
    for header, value in segment.headerlist:
        if not value.replace("\t", " ").isprintable():
            raise _bad("A part has a header with characters that cannot be printed.")
        if header.lower() == "content-transfer-encoding":
            raise _bad("Encoded parts are refused.")
        if header.lower() != "content-disposition":
            continue
        if not DISPOSITION.fullmatch(value):
            raise _bad("A part has a malformed header.")
        if "*" in value.partition("filename")[2][:1]:
            raise _bad("A file name must be given in one plain form.")
        given = [found.lower() for found in PARAMETER.findall(value)]
        if len(given) != len(set(given)):
            raise _bad("A part gives its name or its file's twice.")


def _require_utf_8(segment: MultipartSegment) -> None:
    options = parse_options_header(segment.header("Content-Type", "text/plain"))[1]
    if options.get("charset", "utf-8").lower() not in UTF_8:
        raise _bad("Fields of a form must be in UTF-8.")


def _bad(message: str, *, param: str | None = None, status: int = 400) -> InvalidRequest:
    code = "request_too_large" if status != HTTPStatus.BAD_REQUEST else "invalid_form"
    return InvalidRequest(message, code=code, param=param, status=status)
