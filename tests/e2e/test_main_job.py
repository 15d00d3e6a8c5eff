"""Enroll and verify real faces over HTTP, through Envoy and four processes."""

from pathlib import Path

import cv2
import pytest

from services.images.decode import decode, encode_png
from tests.e2e.system import System

#: People of faces/deepface: photos to enroll, and one to verify. The liveness model takes the probes for real.
PEOPLE = {
    "RECO_ID_001": ("Person One", "id_img1", ("img1", "img2", "img4", "img5"), "img6"),
    "RECO_ID_008": ("Person Eight", "id_img8", ("img8",), "img9"),
    "RECO_ID_013": ("Person Thirteen", "id_img13", ("img13",), "img15"),
    "RECO_ID_022": ("Person Twentytwo", "id_img22", ("img22",), "img23"),
}


def files(folder: Path, *names: str) -> dict[str, bytes]:
    return {f"{name}.jpg": (folder / f"{name}.jpg").read_bytes() for name in names}


def upload(system: System, person_id: str, photos: dict[str, bytes]) -> str:
    answer = system.client.upload(person_id, photos)
    assert answer["upload_code"] == 119, answer
    return answer["upload_results"]["upload_id"]


@pytest.fixture(scope="module")
def faces(photos: Path) -> Path:
    return photos / "faces" / "deepface"


@pytest.fixture(scope="module")
def enrolled(system: System, faces: Path) -> System:
    """The system with PEOPLE enrolled."""
    for person_id, (name, folder, names, _) in PEOPLE.items():
        upload_id = upload(system, person_id, files(faces / folder, *names))
        answer = system.client.upload_db(upload_id, name)
        assert answer["result_code"] == 800, answer
        assert len(answer["upload_results"]["resulting_imgs"]["main"]) == len(names)
        assert len(answer["upload_results"]["resulting_imgs"]["aug"]) == 4 * len(names)
    return system


@pytest.mark.parametrize("person_id", PEOPLE)
def test_a_fresh_photo_of_an_enrolled_person_is_verified(enrolled: System, faces: Path, person_id: str):
    name, folder, _, probe = PEOPLE[person_id]
    upload_id = upload(enrolled, person_id, files(faces / folder, probe))
    answer = enrolled.client.verify(upload_id, skip_liveness=True)
    assert answer["recognition_code"] == 200
    assert answer["recognition_results"]["name"] == name
    assert 0 < answer["recognition_results"]["distance"] < 1


def test_liveness_lets_a_real_photo_through(enrolled: System, faces: Path):
    answer = enrolled.client.verify(upload(enrolled, "RECO_ID_001", files(faces / "id_img1", "img6")))
    assert answer["recognition_code"] == 200


@pytest.mark.parametrize("skip_liveness", [True, False])
def test_a_photo_that_is_upside_down_is_verified_like_an_upright_one(
    enrolled: System, faces: Path, skip_liveness: bool
):
    """It says nothing of it in EXIF; liveness, too, judges it turned upright."""
    photo = cv2.rotate(decode((faces / "id_img1" / "img6.jpg").read_bytes()), cv2.ROTATE_180)
    upload_id = upload(enrolled, "RECO_ID_001", {"turned.png": encode_png(photo)})
    assert enrolled.client.verify(upload_id, skip_liveness=skip_liveness)["recognition_code"] == 200


def test_somebody_else_upside_down_is_not(enrolled: System, faces: Path):
    photo = cv2.rotate(decode((faces / "_unlabelled" / "img34.jpg").read_bytes()), cv2.ROTATE_180)
    upload_id = upload(enrolled, "RECO_ID_001", {"turned.png": encode_png(photo)})
    assert enrolled.client.verify(upload_id, skip_liveness=True)["recognition_code"] in (500, 100)


def test_a_stranger_is_not_verified(enrolled: System, faces: Path):
    for stranger in ("img26", "img34", "img47"):
        upload_id = upload(enrolled, "RECO_ID_001", files(faces / "_unlabelled", stranger))
        answer = enrolled.client.verify(upload_id, skip_liveness=True)
        assert answer["recognition_code"] in (500, 100), (stranger, answer)
        assert answer["recognition_results"] == {"name": None, "distance": None}


def test_another_enrolled_person_under_the_id_is_found_to_be_someone_else(enrolled: System, faces: Path):
    upload_id = upload(enrolled, "RECO_ID_001", files(faces / "id_img13", "img15"))
    assert enrolled.client.verify(upload_id, skip_liveness=True)["recognition_code"] == 100


@pytest.mark.parametrize("person_id", PEOPLE)
def test_search_finds_the_person(enrolled: System, faces: Path, person_id: str):
    name, folder, _, probe = PEOPLE[person_id]
    upload_id = upload(enrolled, person_id, files(faces / folder, probe))
    answer = enrolled.client.verify(upload_id, skip_verify=True, skip_liveness=True)
    assert answer["recognition_code"] == 134
    assert answer["recognition_results"]["name"] == name


def test_verifying_does_not_consume_an_upload(enrolled: System, faces: Path):
    upload_id = upload(enrolled, "RECO_ID_001", files(faces / "id_img1", "img6"))
    for _ in range(2):
        assert enrolled.client.verify(upload_id, skip_liveness=True)["recognition_code"] == 200


def test_group_photos_cannot_be_enrolled(enrolled: System, faces: Path):
    upload_id = upload(enrolled, "RECO_ID_900", files(faces / "_group", "couple", "selfie-many-people"))
    assert enrolled.client.upload_db(upload_id, "Too Many")["result_code"] == 152
    assert not list(enrolled.images.glob("*RECO_ID_900"))
    assert (enrolled.uploads / upload_id).is_dir()


def test_photos_without_a_face(enrolled: System, photos: Path):
    products = files(photos / "faces" / "noface", "mug", "watch", "candle-holder")
    answer = enrolled.client.upload("RECO_ID_001", products)
    if answer["upload_code"] == 120:
        pytest.fail(f"product photos were refused for their quality: {answer}")
    answer = enrolled.client.verify(answer["upload_results"]["upload_id"])
    assert answer["recognition_code"] == 630


@pytest.mark.parametrize("kind", ["print", "replay"])
def test_printed_and_replayed_faces_are_spoofs(enrolled: System, photos: Path, kind: str):
    enrolled.write_env(SCORE_TOL="0.000")
    spoofs = sorted((photos / "spoof" / kind).iterdir())[-2:]
    codes = []
    for path in spoofs:
        upload_id = upload(enrolled, "RECO_ID_001", {path.name: path.read_bytes()})
        codes.append(enrolled.client.verify(upload_id)["recognition_code"])
    enrolled.write_env()
    assert codes == [560] * len(spoofs)
