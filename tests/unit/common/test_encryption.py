"""Encryption at rest: who has the key reads, nothing can be put in another's place, keys can be changed."""

import base64
import os
from pathlib import Path

import numpy as np
import pytest

from deploy.local.rotate_key import add_key
from services.common.encryption import MAGIC, CannotDecrypt, KeyFile, Keyring, keyring_of_environment, parse_keys

OLD, NEW = bytes(range(32)), bytes(range(1, 33))


def keyring(*keys: bytes) -> Keyring:
    return Keyring(lambda: keys)


def test_what_was_sealed_is_opened_by_who_has_the_key():
    for data in (b"", b"x", b"a face" * 1000):
        sealed = keyring(NEW).seal(data, "photo", "anna", "1.png")
        assert keyring(NEW).open(sealed, "photo", "anna", "1.png") == data
        assert keyring(OLD, NEW).open(sealed, "photo", "anna", "1.png") == data
        assert len(data) < 16 or data not in sealed  # a single byte turns up by chance


def test_no_two_blobs_are_alike():
    assert len({keyring(NEW).seal(b"a face", "photo") for _ in range(100)}) == 100


@pytest.mark.parametrize("keys", [(), (OLD,)])
def test_without_the_key_it_is_not_opened(keys: tuple[bytes, ...]):
    with pytest.raises(CannotDecrypt, match="key"):
        keyring(*keys).open(keyring(NEW).seal(b"a face", "photo", "anna"), "photo", "anna")


@pytest.mark.parametrize(
    "about", [(), ("photo",), ("photo", "bob"), ("template", "anna"), ("photo", "an", "na"), ("photo", "anna", "")]
)
def test_a_blob_is_not_opened_as_another(about: tuple[str, ...]):
    with pytest.raises(CannotDecrypt):
        keyring(NEW).open(keyring(NEW).seal(b"a face", "photo", "anna"), *about)


def test_a_blob_that_was_changed_is_not_opened():
    sealed = keyring(NEW).seal(b"a face", "photo")
    for position in range(len(MAGIC), len(sealed)):
        changed = sealed[:position] + bytes([sealed[position] ^ 1]) + sealed[position + 1 :]
        with pytest.raises(CannotDecrypt):
            keyring(NEW).open(changed, "photo")
    for end in range(len(MAGIC), len(sealed)):
        with pytest.raises(CannotDecrypt):
            keyring(NEW).open(sealed[:end], "photo")


def test_without_a_key_data_stay_as_they_are():
    assert keyring().seal(b"a face", "photo") == b"a face"
    assert keyring().renewed(b"a face", "photo") is None


def test_what_was_stored_before_there_was_a_key_is_read():
    template = np.random.default_rng(0).normal(size=128).astype("<f4").tobytes()
    for plain in (b"", b"\x89PNG", b"RIFF", template):
        assert keyring(NEW).open(plain, "photo") == plain
    assert np.isnan(np.frombuffer(MAGIC[:4], "<f4")[0]), "no template begins so"


def test_renewing_brings_everything_to_the_present_key():
    for before in (b"a face", keyring(OLD).seal(b"a face", "photo")):
        renewed = keyring(NEW, OLD).renewed(before, "photo")
        assert renewed is not None and keyring(NEW).open(renewed, "photo") == b"a face"
        assert keyring(NEW, OLD).renewed(renewed, "photo") is None
    with pytest.raises(CannotDecrypt):
        keyring(NEW).renewed(keyring(OLD).seal(b"a face", "photo"), "photo")


def test_keys_are_base64_or_hexadecimal():
    text = f"{base64.b64encode(OLD).decode()}, {NEW.hex()}\n{base64.urlsafe_b64encode(bytes([255] * 32)).decode()}"
    assert parse_keys(text) == (OLD, NEW, bytes([255] * 32))
    assert parse_keys(" \n") == ()
    for wrong in ("secret", base64.b64encode(bytes(31)).decode(), "g" * 64, base64.b64encode(bytes(33)).decode()):
        with pytest.raises(ValueError, match="32 random bytes"):
            parse_keys(wrong)


def test_a_key_file_is_read_again_when_it_changes(tmp_path: Path):
    path = tmp_path / "keys"
    add_key(path)
    keys = KeyFile(path)
    ring = Keyring(keys.keys)
    sealed = ring.seal(b"a face", "photo")
    add_key(path)
    assert len(keys.keys()) == 2 and path.stat().st_mode & 0o777 == 0o600
    assert ring.open(sealed, "photo") == b"a face" and ring.renewed(sealed, "photo")
    before = keys.keys()
    path.write_text("half a k")
    assert keys.keys() == before
    path.unlink()
    assert keys.keys() == before
    with pytest.raises(OSError, match="keys"):
        KeyFile(path)
    path.touch()
    with pytest.raises(ValueError, match="no key"):
        KeyFile(path)


def test_a_key_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("RECO_ENCRYPTION_KEY", "RECO_ENCRYPTION_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert keyring_of_environment().seal(b"plain") == b"plain"
    monkeypatch.setenv("RECO_ENCRYPTION_KEY", base64.b64encode(NEW).decode())
    assert keyring(NEW).open(keyring_of_environment().seal(b"x")) == b"x"
    monkeypatch.setenv("RECO_ENCRYPTION_KEY", "secret")
    with pytest.raises(SystemExit, match="openssl"):
        keyring_of_environment()
    monkeypatch.setenv("RECO_ENCRYPTION_KEY_FILE", os.fspath(tmp_path / "absent"))
    with pytest.raises(SystemExit, match="not both"):
        keyring_of_environment()
    monkeypatch.delenv("RECO_ENCRYPTION_KEY")
    with pytest.raises(SystemExit, match="absent"):
        keyring_of_environment()
