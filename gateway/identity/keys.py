"""API keys: their form, and the digest under which a store knows them.

A key is `egk_`, 32 random characters (190 bits) and a checksum of 6, so that a mistyped or made-up key is
refused without asking a store and secret scanners can be sure. A store holds only HMAC-SHA-256(pepper, key);
the pepper never enters it. Refuses to know who holds which key.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import string
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import StoreError

if TYPE_CHECKING:
    from gateway.settings import Settings

PREFIX = "egk_"
BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_CHARACTERS = 32
CHECKSUM_CHARACTERS = 6
KEY_CHARACTERS = len(PREFIX) + RANDOM_CHARACTERS + CHECKSUM_CHARACTERS
PEPPER_FILE = "pepper"
PEPPER_BYTES = 32


def mint() -> str:
    """A new key, from the operating system's randomness."""
    body = PREFIX + _random(RANDOM_CHARACTERS)
    return body + _checksum(body)


def mint_id() -> str:
    """A new public id of a key, fit for logs and answers."""
    return f"key_{_random(16)}"


def well_formed(key: str) -> bool:
    """Whether prefix, length and checksum are right: what `mint` may have made."""
    if len(key) != KEY_CHARACTERS or not key.startswith(PREFIX) or not key.isascii():
        return False
    return hmac.compare_digest(_checksum(key[:-CHECKSUM_CHARACTERS]), key[-CHECKSUM_CHARACTERS:])


def digest(pepper: bytes, key: str) -> str:
    """HMAC-SHA-256 of a key as 64 hexadecimal digits. Any text has one, also text that is no key."""
    return hmac.new(pepper, key.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def pepper_id(pepper: bytes) -> str:
    """Which pepper a digest was made with, without saying anything about the pepper."""
    return hmac.new(pepper, b"ecogate pepper id", hashlib.sha256).hexdigest()[:16]


def pepper(data_dir: Path, settings: Settings) -> bytes:
    """The pepper from the settings, else the one in `data_dir`, made there once (mode 0600).

    Gateways that share a database must share the pepper. Raises `StoreError` when the file is too short
    to be one or cannot be written.
    """
    if settings.key_pepper is not None:
        return settings.key_pepper.get_secret_value().encode()
    path = data_dir / PEPPER_FILE
    try:
        if not path.exists():
            _write_once(path, secrets.token_bytes(PEPPER_BYTES))
        found = path.read_bytes()
    except OSError as error:
        msg = f"the key pepper {path} cannot be used ({type(error).__name__})"
        raise StoreError(msg) from error
    if len(found) < PEPPER_BYTES:
        msg = f"the key pepper {path} is damaged: shorter than {PEPPER_BYTES} bytes"
        raise StoreError(msg)
    return found


def _write_once(path: Path, content: bytes) -> None:
    """Make the file whole or not at all; of several processes that try, the first one's content stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".pepper-")  # made with mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(name, path)
    except FileExistsError:
        pass
    finally:
        Path(name).unlink()


def _random(length: int) -> str:
    return "".join(secrets.choice(BASE62) for _ in range(length))


def _checksum(body: str) -> str:
    """CRC32 in base 62: six digits hold any of its values."""
    rest = zlib.crc32(body.encode())
    digits = []
    for _ in range(CHECKSUM_CHARACTERS):
        rest, digit = divmod(rest, len(BASE62))
        digits.append(BASE62[digit])
    return "".join(reversed(digits))
