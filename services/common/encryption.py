"""Encryption at rest: what is stored of faces, by AES-256-GCM, under keys that are kept elsewhere.

A sealed blob is MAGIC, the key's ID, a random nonce and what AES-GCM makes; it can be opened only as what it was sealed
as (whose, which photo, which model). Blobs that were stored before there was a key are plain, and are read as they are.
"""

import base64
import binascii
import hashlib
import json
import os
import secrets
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.common.errors import RecoError

#: No picture begins so, and no template: as float32, little endian, these bytes are no number. The last is the format.
MAGIC = b"RE\xc0\xff\x01"
ID_BYTES, NONCE_BYTES, KEY_BYTES = 8, 12, 32

#: Environment variables that name the keys.
KEY, KEY_FILE = "RECO_ENCRYPTION_KEY", "RECO_ENCRYPTION_KEY_FILE"


class CannotDecrypt(RecoError):
    """The key of a stored blob is not among the keys, or the blob was changed or put in another's place."""

    status = "UNAVAILABLE"
    reason = "CANNOT_DECRYPT"


class Keyring:
    """The present key, which seals, and earlier ones, which open. Safe to use from several threads.

    Nonces are drawn: a key is good for 2^32 blobs (NIST SP 800-38D, 8.3).
    """

    def __init__(self, keys: Callable[[], Sequence[bytes]] = lambda: ()):
        """`keys`: gives the keys of KEY_BYTES as they are now, the present one first; none: nothing is encrypted."""
        self._keys = keys
        self._lock = threading.Lock()
        self._known: tuple[Sequence[bytes], dict[bytes, AESGCM]] = ((), {})

    def seal(self, data: bytes, *about: str) -> bytes:
        """Encrypts, where there is a key.

        Args:
            about: what the blob is: to be told again when it is opened.
        """
        ciphers = self._ciphers()
        if not ciphers:
            return data
        key_id, cipher = next(iter(ciphers.items()))
        nonce = secrets.token_bytes(NONCE_BYTES)
        return MAGIC + key_id + nonce + cipher.encrypt(nonce, data, _bound(key_id, about))

    def open(self, data: bytes, *about: str) -> bytes:
        """The plain data; raises CannotDecrypt."""
        if not data.startswith(MAGIC):
            return data
        key_id, nonce, sealed = _parts(data)
        cipher = self._ciphers().get(key_id)
        if cipher is None:
            raise CannotDecrypt(f"the key {key_id.hex()} is not among those of {KEY} or {KEY_FILE}")
        try:
            return cipher.decrypt(nonce, sealed, _bound(key_id, about))
        except (InvalidTag, ValueError) as err:  # ValueError: it was cut
            raise CannotDecrypt("what is stored was changed, or belongs elsewhere") from err

    def renewed(self, data: bytes, *about: str) -> bytes | None:
        """The blob sealed by the present key; None where it is already, or there is no key. Raises CannotDecrypt."""
        ciphers = self._ciphers()
        if not ciphers or (data.startswith(MAGIC) and _parts(data)[0] == next(iter(ciphers))):
            return None
        return self.seal(self.open(data, *about), *about)

    def _ciphers(self) -> dict[bytes, AESGCM]:
        """By the IDs of their keys, the present one first."""
        keys = self._keys()
        with self._lock:
            if self._known[0] != keys:
                self._known = keys, {_key_id(key): AESGCM(key) for key in keys}
            return self._known[1]


def _parts(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Key ID, nonce, and the rest."""
    id_end = len(MAGIC) + ID_BYTES
    return data[len(MAGIC) : id_end], data[id_end : id_end + NONCE_BYTES], data[id_end + NONCE_BYTES :]


def _key_id(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=ID_BYTES, person=b"reco key id").digest()


def _bound(key_id: bytes, about: Sequence[str]) -> bytes:
    return MAGIC + key_id + json.dumps(about).encode()


def parse_keys(text: str) -> tuple[bytes, ...]:
    """Keys, separated by commas or white space: 32 bytes each, as base64 or 64 hexadecimal digits.

    Raises:
        ValueError: one of them is none.
    """
    return tuple(map(_parse_key, text.replace(",", " ").split()))


def _parse_key(text: str) -> bytes:
    try:
        is_hex = len(text) == 2 * KEY_BYTES
        key = (
            bytes.fromhex(text) if is_hex else base64.b64decode(text, altchars=b"-_" if set(text) & set("-_") else None)
        )
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError("a key is 32 random bytes in base64: openssl rand -base64 32") from None
    return key


class KeyFile:
    """The keys in a file, read again whenever it changes: the first is the present one."""

    def __init__(self, path: Path):
        """Raises ValueError where there is no key in the file, OSError where it cannot be read."""
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._keys: tuple[bytes, ...] = ()
        if not self.keys():
            raise ValueError(f"there is no key in {path}")

    def keys(self) -> tuple[bytes, ...]:
        """Those of now; those read last where the file has become unreadable."""
        try:
            stat = os.stat(self._path)
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp != self._stamp:
                self._keys = parse_keys(self._path.read_text()) or self._keys
                self._stamp = stamp
        except (OSError, ValueError):
            if not self._keys:
                raise
        return self._keys


def keyring_of_environment() -> Keyring:
    """The keys of RECO_ENCRYPTION_KEY or RECO_ENCRYPTION_KEY_FILE; none where neither is set.

    Raises:
        SystemExit: what is set is no key; it says what to do.
    """
    text, path = os.environ.get(KEY, ""), os.environ.get(KEY_FILE, "")
    if text and path:
        raise SystemExit(f"set {KEY} or {KEY_FILE}, not both")
    try:
        if path:
            return Keyring(KeyFile(Path(path)).keys)
        keys = parse_keys(text)
    except (OSError, ValueError) as err:
        raise SystemExit(f"{KEY_FILE if path else KEY}: {err}") from err
    return Keyring(lambda: keys)
