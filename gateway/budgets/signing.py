"""Signatures of webhooks after the Standard Webhooks specification, so that receivers can use its libraries.

Pure; refuses to know what is signed and where it goes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

PREFIX = "whsec_"
KEY_BYTES = (24, 64)


def signing_key(secret: str) -> bytes:
    """The key in a secret: `whsec_` and base64 as the specification has it, else the text's own bytes.

    Raises ValueError, without the secret, for one that could not be told apart from a mistake.
    """
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not KEY_BYTES[0] <= len(key) <= KEY_BYTES[1]:
        msg = "must be whsec_ followed by 24 to 64 bytes in base64, or another text"
        raise ValueError(msg)
    return key


def signature(secret: str, message_id: str, timestamp_s: int, body: bytes) -> str:
    """The value of `webhook-signature` for a body that is sent at this time (UTC epoch seconds)."""
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    digest = hmac.new(signing_key(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"
