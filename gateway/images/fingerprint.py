"""What makes two requests the same: every field, and every file by its content.

The fingerprint is keyed with a secret, so nobody can find a prompt by trying. Refuses to know what it is used
for.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.images.form import File, Form
    from gateway.images.request import ImageRequest


def fingerprint(request: ImageRequest, secret: bytes) -> str:
    """64 hexadecimal digits. Reads the files of a form, so it may block."""
    form = request.form
    files = [] if form is None else [[name, *_file(form, file)] for name, file in form.files]
    canonical = json.dumps([request.route, request.fields, files], sort_keys=True, separators=(",", ":"))
    return hmac.new(secret, canonical.encode(), hashlib.sha256).hexdigest()


def _file(form: Form, file: File) -> list[str | None]:
    content = hashlib.sha256()
    for piece in form.bytes_of(file):
        content.update(piece)
    return [file.filename, file.content_type, content.hexdigest()]
