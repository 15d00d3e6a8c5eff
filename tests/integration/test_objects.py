"""Photos and uploads in a real object store."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.data.installation import Installation
from services.common.encryption import Keyring
from services.common.errors import RecoError
from services.gateway.errors import ErasureIncomplete, RecordRefused, StorageRefused, UploadUnknown
from services.gateway.storage.limits import UploadLimits
from services.gateway.storage.objects.place import BucketPlace, parse_place
from services.gateway.storage.stores import open_stores
from services.gateway.storage.types import FacePhoto
from tests.fake_storage import ENV
from tests.fakes import Killed, fake_photo
from tests.installations import enroll as enroll_person
from tests.installations import make_env
from tests.photos_contract import PNG, OpenPhotos, SealedPhotosContract
from tests.s3 import BUCKET, ObjectStore
from tests.unit.gateway.fake_gateway import PERSON, FakeGateway
from tests.uploads_contract import OpenUploads, SealedUploadsContract

if TYPE_CHECKING:  # its client is not installed everywhere
    from services.gateway.storage.objects.bucket import Bucket

ANN = fake_photo("ann")
PHOTO = FacePhoto("a.png", False, PNG, None)


@pytest.fixture
def place(object_store: ObjectStore, tmp_path: Path) -> BucketPlace:
    return parse_place(f"s3://{BUCKET}/{tmp_path.parent.name}/{tmp_path.name}")


@pytest.fixture
def bucket(place: BucketPlace) -> "Bucket":
    from services.gateway.storage.objects.bucket import Bucket

    return Bucket(place)


@pytest.fixture
def stored(bucket: "Bucket") -> Callable[[], list[bytes]]:
    return lambda: [bucket.get(one.key) for one in bucket.objects("")]


class TestPhotoObjects(SealedPhotosContract):
    """As folders do."""

    @pytest.fixture
    def open_photos(self, bucket: "Bucket", tmp_path: Path) -> OpenPhotos:
        from services.gateway.storage.objects.photos import PhotoObjects

        return partial(PhotoObjects, bucket, tmp_path)


class TestUploadObjects(SealedUploadsContract):
    """As folders do."""

    @pytest.fixture
    def open_uploads(self, bucket: "Bucket") -> OpenUploads:
        from services.gateway.storage.objects.uploads import UploadObjects

        return partial(UploadObjects, bucket)


def test_folders_can_be_copied_as_they_are(bucket: "Bucket", tmp_path: Path):
    from services.gateway.storage.objects.photos import PhotoObjects

    photos = PhotoObjects(bucket, tmp_path)
    photos.stage("000-1", "x-A", [PHOTO])
    photos.publish("000-1", "x-A")
    assert [one.key for one in bucket.objects("")] == ["photos/x-A/faces/a.png"]
    assert photos.path_of("x-A") == f"{bucket.uri}photos/x-A"
    for key in ("x-A/faces/notes.txt", "x-A/other/a.png", ".locks/001"):
        bucket.put(f"photos/{key}", b"")
    assert photos.names("x-A") == {"a.png": False} and photos.folders_ending("") == ["x-A"]


def test_old_uploads_are_deleted_enrolled_or_not(bucket: "Bucket"):
    """The time of one that was enrolled is that of its upload."""
    from services.gateway.storage.objects.uploads import UploadObjects

    uploads = UploadObjects(bucket, UploadLimits(ttl=3600))
    waiting, used = (uploads.create("A", [(".jpg", b"x")]).upload_id for _ in range(2))
    uploads.consume(used)
    uploads.remove_expired()
    keys = [one.key for one in bucket.objects("")]
    assert keys[0] == f"uploads/{waiting}" and keys[1].startswith(f"used/{used}/")
    bucket.copy(keys[1], f"used/{used}/{int(time.time()) - 3601}")
    uploads.remove_expired()
    assert [one.key for one in bucket.objects("")] == keys
    time.sleep(1.1)  # times are told in whole seconds
    UploadObjects(bucket, UploadLimits(ttl=1)).remove_expired()
    assert not list(bucket.objects(""))


def test_an_upload_that_is_encrypted_anew_is_read_all_the_same(bucket: "Bucket"):
    from services.gateway.storage.objects.uploads import UploadObjects

    keys = [bytes(32)]
    uploads = UploadObjects(bucket, keyring=Keyring(lambda: tuple(keys)))
    made = UploadObjects(bucket).create("A", [(".jpg", b"one" * 1000), (".jpg", b"two" * 1000)])

    def rotate() -> None:
        for number in range(1, 8):
            keys.insert(0, bytes([number] * 32))
            uploads.renew()

    with ThreadPoolExecutor(1) as other:
        rotating = other.submit(rotate)
        while not rotating.done():
            assert uploads.read(made, "002.jpg") == b"two" * 1000
        rotating.result()


def test_one_who_deletes_wins_over_one_who_encrypts_anew(bucket: "Bucket"):
    bucket.put("a", b"1")
    data, etag = bucket.get_with_etag("a")
    assert bucket.delete(["a"]) == [] and not bucket.replace("a", b"2", etag) and not bucket.find("a")


def test_many_objects_are_listed(bucket: "Bucket"):
    bucket.each(lambda number: bucket.put(f"x/{number:04d}/a", b""), range(1100))
    assert len(list(bucket.objects("x/"))) == len(list(bucket.folders("x/"))) == 1100
    assert bucket.delete(one.key for one in bucket.objects("x/")) == [] and not bucket.has_any("x/")


def test_a_bucket_that_keeps_versions_is_not_written_to(object_store: ObjectStore, place: BucketPlace):
    import boto3

    from services.gateway.storage.objects.bucket import Bucket

    client = boto3.client("s3")
    client.create_bucket(Bucket="versioned")
    client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    bucket = Bucket(BucketPlace("versioned"))
    with pytest.raises(StorageRefused, match="versions"):
        bucket.put("a", b"1")
    assert not list(bucket.objects(""))
    client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Suspended"})
    bucket.put("a", b"1")


@pytest.mark.parametrize(
    "uri",
    ["", "s3:/x", "s3://", "s3://UPPER", "s3://bucket/a//x", "s3://bucket/../x", "https://bucket/x", "s3://b?x/y"],
)
def test_what_is_no_place(uri: str):
    with pytest.raises(ValueError, match="s3://bucket"):
        parse_place(uri)


@pytest.mark.parametrize(("name", "value"), [("AWS_ENDPOINT_URL", "nowhere"), ("AWS_PROFILE", "unheard-of")])
def test_a_setting_of_the_client_that_does_not_fit(
    object_store, monkeypatch: pytest.MonkeyPatch, name: str, value: str
):
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match=value):
        open_stores(BucketPlace("bucket"), UploadLimits(), Keyring())


def test_no_region_is_needed_but_the_right_key_is(object_store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    stores = open_stores(BucketPlace(BUCKET), UploadLimits(), Keyring())
    assert not stores.photos(ENV).has("nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    stores = open_stores(BucketPlace(BUCKET), UploadLimits(), Keyring())
    with pytest.raises(StorageRefused, match="SignatureDoesNotMatch"):
        stores.photos(ENV).has("nobody")


def test_places():
    assert [parse_place(f"s3://bucket{rest}").uri for rest in ("", "/", "/a", "/a/b.c/")] == [
        "s3://bucket/", "s3://bucket/", "s3://bucket/a/", "s3://bucket/a/b.c/",
    ]  # fmt: skip


# Backups


@pytest.mark.parametrize("way", [("objects", "folders"), ("folders", "objects")])
def test_a_backup_goes_from_one_to_the_other(
    place: BucketPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: tuple[str, str]
):
    from deploy.data import backup, check, restore

    (passphrase := tmp_path / "passphrase").write_text("correct horse")
    there = list[dict[str, list[FacePhoto]]]()
    for number, kind in enumerate(way):
        monkeypatch.setenv("PHOTOS_URI", f"{place.uri}{number}" if kind == "objects" else "")
        env = make_env(tmp_path / str(number))
        installation = Installation(env)
        options = ["--env-file", str(env), "--passphrase-file", str(passphrase)]
        if number == 0:
            for person in range(3):
                enroll_person(installation, person)
            assert backup.main([*options, "--to", str(tmp_path / "backup")]) == 0
        else:
            assert restore.main([*options, str(tmp_path / "backup")]) == 0
            assert restore.main([*options, str(tmp_path / "backup")]) == 1, "there are people"
            photos = installation.photos
            photos.stage("000-1", "x-A", [PHOTO])
            photos.publish("000-1", "x-A")
            assert check.main(["--env-file", str(env), "--embedder", "127.0.0.1:9"]) == 1
            assert check.main(["--env-file", str(env), "--embedder", "127.0.0.1:9", "--repair"]) == 0
            assert not photos.has("x-A")
        folders = [record.folder for record in installation.records.after(0, 9)]
        there.append({folder: list(installation.photos.read(folder)) for folder in folders})
        assert not [*installation.env.db_path.glob(".linked*"), *installation.env.db_path.glob(".restoring")]
    assert there[0] == there[1] and len(there[0]) == 3 and all(len(photos) == 2 for photos in there[0].values())


# The pipeline on it


@pytest.fixture
def gateway(executor, place: BucketPlace) -> FakeGateway:
    """With fakes for the stages and the database, and the real store."""
    gateway = FakeGateway(executor)
    stores = open_stores(place, UploadLimits(), Keyring())
    photos, uploads = stores.photos(ENV), stores.uploads(ENV)
    gateway.workspaces.workspace = replace(gateway.workspace, photos=photos, uploads=uploads)
    return gateway


@pytest.fixture
def executor():
    with ThreadPoolExecutor(4) as executor:
        yield executor


def upload(gateway: FakeGateway, photo: bytes = ANN) -> str:
    return gateway.workspace.uploads.create(PERSON, [(".jpg", photo)]).upload_id


def enroll(gateway: FakeGateway, upload_id: str) -> None:
    gateway.pipeline.enroller.enroll(gateway.workspace, upload_id, "Ann Lee", False)


def agrees(gateway: FakeGateway) -> bool:
    """Rows, photos and templates tell of the same, and nothing is left over."""
    names = {row.person_id: set(gateway.workspace.photos.names(row.folder)) for row in gateway.records.rows.values()}
    folders = gateway.workspace.photos.folders_ending("")
    return (
        {person: set(stored) for person, stored in gateway.embedder.stored.items()} == names
        and all(names.values())
        and folders == [row.folder for row in gateway.records.rows.values()]
        and not gateway.workspace.photos.staged()
        and not gateway.records.entries
    )


def test_a_person_is_enrolled_added_to_and_erased(gateway: FakeGateway, bucket: "Bucket"):
    for _ in range(2):
        enroll(gateway, upload(gateway))
        assert agrees(gateway)
    waiting = upload(gateway)
    assert len(gateway.embedder.stored[PERSON]) == 6
    gateway.pipeline.enroller.delete(gateway.workspace, PERSON)
    with pytest.raises(UploadUnknown):
        gateway.workspace.uploads.open(waiting)
    assert agrees(gateway) and not list(bucket.objects(""))


STEPS = ["records.commit", "embedder.enroll", "records.delete_entry", "records.erase", "embedder.remove"]


@pytest.mark.parametrize("step", STEPS)
def test_a_process_that_dies_at_any_step_leaves_the_old_or_the_new(gateway: FakeGateway, step: str, bucket: "Bucket"):
    enroll(gateway, upload(gateway))
    before = set(gateway.embedder.stored[PERSON])
    upload_id = upload(gateway)
    gateway.steps.fail(step, Killed())
    with pytest.raises(Killed):
        if step in ("records.erase", "embedder.remove"):
            gateway.pipeline.enroller.delete(gateway.workspace, PERSON)
        else:
            enroll(gateway, upload_id)
    gateway.restart()
    gateway.pipeline.reconciler.clean_up(gateway.workspace)
    assert agrees(gateway)
    after = set(gateway.embedder.stored.get(PERSON, ()))
    assert len(after) == {"records.commit": 3, "records.erase": 3, "embedder.remove": 0}.get(step, 6)
    assert step == "embedder.remove" or before <= after
    left = {one.key.split("/")[0] for one in bucket.objects("")}
    assert left == (set() if step == "embedder.remove" else left & {"photos", "uploads", "used"})


def test_a_store_that_is_down_is_answered_as_a_disk_that_fails(
    gateway: FakeGateway, object_store: ObjectStore, bucket: "Bucket"
):
    """At each moment of an enrollment and an erasure; and when it is back nothing is left half done."""
    waiting = upload(gateway)
    object_store.stop()
    try:
        with pytest.raises(StorageRefused) as refused:
            upload(gateway)
        assert (refused.value.status, refused.value.reason) == ("UNAVAILABLE", "STORAGE_REFUSED")
        with pytest.raises(StorageRefused):
            enroll(gateway, waiting)
        assert not gateway.records.rows
        object_store.start()
        gateway.steps.before("embedder.embed", object_store.stop)  # the upload was read, its faces are to be staged
        with pytest.raises(RecoError) as failed:
            enroll(gateway, waiting)
        assert isinstance(failed.value, RecordRefused | StorageRefused)
        assert not gateway.records.rows and not gateway.records.entries
        gateway.steps.clear()
        object_store.start()
        gateway.steps.before("records.commit", object_store.stop)
        enroll(gateway, waiting)  # committed; what remains is done later
        assert gateway.records.rows and gateway.records.entries
        gateway.steps.clear()
        object_store.start()
        gateway.pipeline.reconciler.clean_up(gateway.workspace)
        assert agrees(gateway)
        gateway.steps.before("records.erase", object_store.stop)
        with pytest.raises(ErasureIncomplete):
            gateway.pipeline.enroller.delete(gateway.workspace, PERSON)
        gateway.steps.clear()
        assert not gateway.records.rows
    finally:
        object_store.stop()
        object_store.start()
    gateway.pipeline.reconciler.clean_up(gateway.workspace)
    assert agrees(gateway) and not list(bucket.objects(""))
