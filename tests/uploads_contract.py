"""What a store of uploads promises, wherever it is: UploadFolders, UploadObjects, FakeUploads."""

from collections.abc import Callable
from typing import Protocol

import pytest

from services.common.encryption import Keyring
from services.gateway.errors import StorageFull, UploadUnknown
from services.gateway.stages.types import PhotoQuality
from services.gateway.storage.limits import UploadLimits
from services.gateway.storage.stores import RenewableUploads
from services.gateway.storage.types import UploadStore


class OpenUploads(Protocol):
    """Opens the store of the test."""

    def __call__(self, limits: UploadLimits = ..., keyring: Keyring = ...) -> RenewableUploads:
        """With these limits and keys."""


class UploadsContract:
    """Tests of any."""

    def test_an_upload_is_opened_as_it_was_stored_until_it_is_consumed(self, uploads: UploadStore) -> None:
        made = uploads.create("A-B", [(".jpg", b"one"), (".png", b"two")])
        assert made.person_id == "A-B" and made.token.isdigit() and made.upload_id == f"A-B-{made.token}"
        assert uploads.open(made.upload_id) == made
        assert [uploads.read(made, name) for name in made.photos] == [b"one", b"two"]
        assert [name[-4:] for name in made.photos] == [".jpg", ".png"]
        for _ in range(2):  # consuming twice is consuming once
            uploads.consume(made.upload_id)
        with pytest.raises(UploadUnknown):
            uploads.open(made.upload_id)
        with pytest.raises(UploadUnknown):
            uploads.read(made, made.photos[0])

    def test_an_upload_tells_how_good_its_photos_are(self, uploads: UploadStore) -> None:
        good = PhotoQuality(8.5, {"noise": 0.5})
        made = uploads.create("A", [(".jpg", b"one")], [good])
        assert uploads.open(made.upload_id).qualities == made.qualities == {made.photos[0]: good}

    def test_many_photos_with_all_that_is_known_of_them(self, uploads: UploadStore) -> None:
        known = [
            PhotoQuality(number / 20, {f"component {part}": part / 7 for part in range(9)}) for number in range(200)
        ]
        made = uploads.create("A", [(".jpg", b"%d" % number * number) for number in range(200)], known)
        assert uploads.open(made.upload_id) == made and len(made.qualities) == 200
        assert [uploads.read(made, made.photos[number]) for number in (0, 7, 199)] == [b"", b"7" * 7, b"199" * 199]

    def test_all_uploads_of_a_person_are_erased_and_no_others(self, uploads: UploadStore) -> None:
        waiting, used, other = (uploads.create(person, [(".jpg", b"x")]) for person in ("A", "A", "A-1"))
        uploads.consume(used.upload_id)
        assert uploads.erase("A", 1000.0) == [], "they came later"
        assert uploads.open(waiting.upload_id) == waiting
        assert uploads.erase("A") == []
        with pytest.raises(UploadUnknown):
            uploads.open(waiting.upload_id)
        assert uploads.open(other.upload_id) == other

    def test_those_that_wait_are_listed_in_order_and_deleted(self, uploads: UploadStore) -> None:
        made = [uploads.create(person, [(".jpg", b"1"), (".jpg", b"2")]) for person in ("B", "A", "A")]
        uploads.consume(made[2].upload_id)
        wanted = sorted(one.upload_id for one in made[:2])
        found = uploads.list_waiting("", 9)
        assert [(one.upload_id, one.photos) for one in found] == [(name, 2) for name in wanted]
        assert [one.person_id for one in found] == ["A", "B"] and all(one.stored_at > 1e9 for one in found)
        assert [one.upload_id for one in uploads.list_waiting("", 1)] == wanted[:1]
        assert [one.upload_id for one in uploads.list_waiting(wanted[0], 9)] == wanted[1:]
        assert [uploads.discard(wanted[0]) for _ in range(2)] == [True, False]
        assert not uploads.discard("../A-1") and not uploads.discard(made[2].upload_id)
        assert [one.upload_id for one in uploads.list_waiting("", 9)] == wanted[1:]


UNKNOWN = ["", "A", "A-", "-1", "A-1", "../A-1", "A-x", "A-1/..", "A-٣", "A-1\0", f"A-{'1' * 300}"]


class SealedUploadsContract(UploadsContract):
    """Tests of those that are stored, and may be encrypted."""

    @pytest.fixture
    def uploads(self, open_uploads: OpenUploads) -> UploadStore:
        return open_uploads()

    @pytest.mark.parametrize("upload_id", UNKNOWN, ids=ascii)
    def test_unknown_uploads(self, uploads: UploadStore, upload_id: str) -> None:
        with pytest.raises(UploadUnknown):
            uploads.open(upload_id)
        assert not uploads.discard(upload_id)

    def test_uploads_are_refused_beyond_their_quota_until_some_are_gone(self, open_uploads: OpenUploads) -> None:
        uploads, other = (open_uploads(UploadLimits(quota=3000)) for _ in range(2))
        first = uploads.create("A", [(".jpg", bytes(900)), (".jpg", bytes(900))])
        with pytest.raises(StorageFull):
            uploads.create("B", [(".jpg", bytes(1500))])
        uploads.create("B", [(".jpg", bytes(500))])
        with pytest.raises(StorageFull):
            other.create("C", [(".jpg", bytes(900))])
        uploads.erase(first.person_id)
        other.remove_expired()
        other.create("C", [(".jpg", bytes(900))])

    def test_uploads_are_encrypted_and_change_their_key(
        self, open_uploads: OpenUploads, stored: Callable[[], list[bytes]]
    ) -> None:
        keys = [bytes(32)]
        plain, uploads = open_uploads(), open_uploads(keyring=Keyring(lambda: tuple(keys)))
        old, new = (store.create("A", [(".jpg", b"a face"), (".jpg", b"")]) for store in (plain, uploads))
        consumed = uploads.create("A", [(".jpg", b"a face")])
        uploads.consume(consumed.upload_id)
        assert [uploads.read(one, "001.jpg") for one in (old, new)] == [b"a face"] * 2
        keys.insert(0, bytes(range(32)))
        assert (uploads.renew(), uploads.renew()) == (5, 0)
        del keys[1]
        for one in (old, new):
            assert [uploads.read(uploads.open(one.upload_id), name) for name in one.photos] == [b"a face", b""]
        assert stored() and not [data for data in stored() if b"face" in data]
