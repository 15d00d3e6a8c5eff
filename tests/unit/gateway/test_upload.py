"""Uploads: which photos are kept, and how."""

import pytest

from services.common.errors import DatabaseUnavailable
from services.gateway.errors import InvalidPersonId, NoPhotos, StorageRefused, TooManyPhotos
from services.gateway.pipeline.upload import MAX_PHOTOS, NamedPhoto, PhotoOutcome, UploadResult
from tests.fakes import fake_photo
from tests.unit.gateway.fake_gateway import PERSON, FakeGateway


def upload(gateway: FakeGateway, *photos: bytes, person: str = PERSON) -> UploadResult:
    """Uploads photos under the names 0, 1, 2 …"""
    named = [NamedPhoto(str(number), photo) for number, photo in enumerate(photos)]
    return gateway.pipeline.uploader.upload(gateway.workspace, person, named)


def test_good_photos_are_stored_as_they_were_sent_in_their_order(gateway: FakeGateway):
    photos = [fake_photo("ann", score=7 + number / 10) for number in range(20)]
    result = upload(gateway, *photos)
    assert result.upload and result.upload.person_id == PERSON
    assert [photo.name for photo in result.photos] == [str(number) for number in range(20)]
    assert [photo.saved_as for photo in result.photos] == list(result.upload.photos)
    assert list(gateway.uploads.waiting[result.upload.upload_id].values()) == photos


def test_the_score_decides_and_the_tolerance_is_the_lowest_that_is_kept(gateway: FakeGateway):
    result = upload(gateway, fake_photo(score=6.999), fake_photo(score=7.0), b"no picture")
    assert [photo.outcome for photo in result.photos] == [
        PhotoOutcome.REJECTED,
        PhotoOutcome.SAVED,
        PhotoOutcome.UNDECODABLE,
    ]
    assert [photo.quality and photo.quality.score for photo in result.photos] == [6.999, 7.0, None]
    assert [photo.saved_as for photo in result.photos] == ["", "001.img", ""]


def test_nothing_is_stored_where_no_photo_is_good(gateway: FakeGateway):
    result = upload(gateway, fake_photo(score=1.0), b"no picture")
    assert result.upload is None and len(result.photos) == 2
    assert not gateway.uploads.waiting


@pytest.mark.parametrize(
    ("start", "extension"),
    [
        (b"\xff\xd8\xff", ".jpg"),
        (b"\x89PNG\r\n", ".png"),
        (b"RIFF....WEBP", ".webp"),
        (b"BM", ".bmp"),
        (b"II*\0", ".tiff"),
        (b"MM\0*", ".tiff"),
        (b"GIF89a", ".gif"),
        (b"\0\0\0\x18ftypheic", ".heic"),
        (b"\0\0\0\x18ftypmif1", ".heic"),
        (b"\0\0\0\x1cftypavif", ".avif"),
        (b"%PDF", ".img"),
    ],
)
def test_the_stored_name_says_what_the_file_begins_with(gateway: FakeGateway, start: bytes, extension: str):
    (photo,) = upload(gateway, start + fake_photo()).photos
    assert photo.saved_as == f"001{extension}"


def test_too_many_photos_are_not_even_scored(gateway: FakeGateway):
    with pytest.raises(TooManyPhotos):
        upload(gateway, *[fake_photo()] * (MAX_PHOTOS + 1))
    with pytest.raises(NoPhotos):
        upload(gateway)
    assert not gateway.steps.counts


def test_an_id_is_checked_before_all_else(gateway: FakeGateway):
    with pytest.raises(InvalidPersonId):
        upload(gateway, person="nobody")
    assert not gateway.steps.counts


@pytest.mark.parametrize(
    ("step", "error"),
    [("detector.score", DatabaseUnavailable("gone")), ("uploads.create", StorageRefused("disk full"))],
)
def test_what_fails_on_the_way_leaves_nothing(gateway: FakeGateway, step: str, error: Exception):
    gateway.steps.fail(step, error)
    with pytest.raises(type(error)):
        upload(gateway, fake_photo(), fake_photo())
    assert not gateway.uploads.waiting
