"""Request bodies on their way out: JSON, or a form that is written anew part by part.

A form gets a fresh boundary and headers of our own making; the bytes of its files are those of the client.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.images.form import File, Form, FormPart

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

JSON_TYPE = "application/json"
QUOTED = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent. `chunks` gives it anew each time."""

    content_type: str
    content: bytes | FormContent

    @property
    def length(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.length

    def sent(self) -> bytes | AsyncIterator[bytes]:
        return self.content if isinstance(self.content, bytes) else self.content.chunks()


@dataclass(frozen=True, slots=True)
class FormContent:
    """The parts of a form as pieces of bytes and files between them."""

    form: Form
    pieces: tuple[bytes | File, ...]

    @property
    def length(self) -> int:
        return sum(len(piece) if isinstance(piece, bytes) else piece.length for piece in self.pieces)

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, bytes):
                yield piece
                continue
            for chunk in self.form.bytes_of(piece):
                yield chunk


def json_body(fields: Mapping[str, Any]) -> Body:
    """Fields as JSON, in their order."""
    return Body(JSON_TYPE, msgspec.json.encode(fields))


def form_body(form: Form, fields: Mapping[str, Any]) -> Body:
    """A form with the text fields `fields` in place of its own.

    A text field that is not among them is left out; fields that the form does not have come last.
    """
    boundary = f"ecogate-{secrets.token_hex(16)}"
    pieces: list[bytes | File] = []
    own = form.fields
    added = [FormPart(name, _text(value)) for name, value in fields.items() if name not in own]
    for part in [*form.parts, *added]:
        if isinstance(part.value, File):
            pieces += [_file_head(boundary, part.name, part.value), part.value, b"\r\n"]
        elif part.name in fields:
            value = _text(fields[part.name])
            pieces.append(_head(boundary, part.name) + b"\r\n\r\n" + value.encode() + b"\r\n")
    pieces.append(f"--{boundary}--\r\n".encode())
    return Body(f"multipart/form-data; boundary={boundary}", FormContent(form, tuple(pieces)))


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _head(boundary: str, name: str) -> bytes:
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'.encode()


def _file_head(boundary: str, name: str, file: File) -> bytes:
    head = _head(boundary, name) + f'; filename="{file.filename.translate(QUOTED)}"'.encode()
    if file.content_type is not None:
        head += f"\r\nContent-Type: {file.content_type}".encode()
    return head + b"\r\n\r\n"
