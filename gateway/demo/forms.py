"""The stand-in's reading of forms: text fields, and of each file its name, type and digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

WHOLE = ("n", "partial_images", "num_inference_steps", "steps")


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file as it arrived."""

    name: str
    filename: str
    content_type: str | None
    sha256: str


def read_form(content_type: str, body: bytes) -> tuple[dict[str, Any], list[SentFile]] | None:
    """The text fields (numbers and flags as such) and the files; `None` when the body is no form."""
    kind, options = parse_options_header(content_type)
    if kind != "multipart/form-data":
        return None
    fields: dict[str, Any] = {}
    files: list[SentFile] = []
    segment: MultipartSegment | None = None
    content = bytearray()
    try:
        with PushMultipartParser(options.get("boundary", ""), content_length=len(body)) as parser:
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    segment = event
                    content.clear()
                elif event:
                    content += event
                elif segment is not None and segment.filename is not None:
                    digest = hashlib.sha256(content).hexdigest()
                    kind_of_file = segment.header("Content-Type")
                    files.append(SentFile(segment.name, segment.filename, kind_of_file, digest))
                elif segment is not None:
                    fields[segment.name] = content.decode("utf-8", "replace")
    except MultipartError:
        return None
    return _typed(fields), files


def _typed(fields: dict[str, Any]) -> dict[str, Any]:
    for name in WHOLE:
        if str(fields.get(name, "")).isdecimal():
            fields[name] = int(fields[name])
    if fields.get("stream") in ("true", "false"):
        fields["stream"] = fields["stream"] == "true"
    return fields
