"""Every code of the contract, provoked for real: HTTP through Envoy, MariaDB, real photos. Keys and texts to the letter."""

import base64
import json
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from deploy.local.demo import astronaut, jpeg
from services.gateway.api.codes import MESSAGES
from tests.e2e.system import RECOGNISER, System
from tests.mariadb import MariaDB

UPLOAD_KEYS = ["upload_results", "upload_code", "upload_message", "system_errors"]
RESULT_KEYS = ["result_code", "result_message", "upload_results", "system_errors"]
RECOGNITION_KEYS = ["recognition_code", "recognition_message", "recognition_results", "system_errors"]
UPLOAD_RESULT_KEYS = ["upload_id", "folder_name", "random_str", "scores", "saved", "rejected", "errors", "saved_as"]

PERSON = "RECO_ID_000023"


@pytest.fixture(scope="module")
def running(mariadb: MariaDB, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("contract")
    with System(folder, mirror=photos / "weights", **mariadb.settings) as running:
        yield running


@pytest.fixture
def system(running: System, mariadb: MariaDB) -> Iterator[System]:
    """A running system without people, uploads or changed settings."""
    yield running
    running.write_env(**mariadb.settings)
    with mariadb.connect() as connection:
        cursor = connection.cursor()
        cursor.execute("SHOW TABLES")
        for (table,) in cursor.fetchall():
            if table == "reco_revision":
                cursor.execute("UPDATE reco_revision SET epoch = epoch + 1")
            else:
                cursor.execute(f"DELETE FROM `{table}`")
    for folder in (*running.images.glob("*-RECO*"), *running.uploads.glob("*")):
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def portrait() -> bytes:
    return jpeg(astronaut())


@pytest.fixture(scope="module")
def sibling() -> bytes:
    """Another photo of the astronaut, so to say."""
    return jpeg(
        cv2.resize(cv2.convertScaleAbs(astronaut(), alpha=1.08, beta=8), (480, 480), interpolation=cv2.INTER_AREA)
    )


def code_of(answer: dict, keys: list[str]) -> int:
    """The code of an answer whose keys, their order and whose text are right."""
    assert list(answer) == keys
    code, message = (answer[key] for key in keys if key.endswith(("_code", "_message")))
    assert message == MESSAGES[code]
    assert (answer["system_errors"] is None) == (code != 176)
    return code


def upload(system: System, *photos: bytes, person_id: str = PERSON) -> str:
    answer = system.client.upload(person_id, {f"{number}.jpg": photo for number, photo in enumerate(photos)})
    assert code_of(answer, UPLOAD_KEYS) == 119, answer
    return answer["upload_results"]["upload_id"]


def enroll(system: System, *photos: bytes, name: str = "Eileen Collins", person_id: str = PERSON, **flags: bool) -> int:
    return code_of(system.client.upload_db(upload(system, *photos, person_id=person_id), name, **flags), RESULT_KEYS)


def verify(system: System, upload_id: str, **flags: bool) -> int:
    return code_of(system.client.verify(upload_id, **{"skip_liveness": True, **flags}), RECOGNITION_KEYS)


def test_texts_are_those_of_the_original_document(photos: Path):
    document = photos.parent / "original" / "README.txt"
    if not document.exists():
        pytest.skip(f"the original's document is not at {document}")
    rows = re.findall(r"^\|(\d{3})\|(.+)\|$", document.read_text(), re.MULTILINE)
    assert {int(code): text for code, text in rows} == MESSAGES


# /upload_imgs


def test_119_files_are_stored_and_scored(system: System, portrait: bytes):
    answer = system.client.upload(PERSON, {"a.jpg": portrait, "b.txt": b"no picture"})
    results = answer["upload_results"]
    assert code_of(answer, UPLOAD_KEYS) == 119
    assert list(results) == UPLOAD_RESULT_KEYS
    assert re.fullmatch(rf"{PERSON}-\d+", results["upload_id"]) and results["folder_name"] == results["upload_id"]
    assert results["upload_id"].rpartition("-")[2] == results["random_str"]
    assert (results["saved"], results["rejected"], results["errors"]) == (["a.jpg"], [], ["b.txt"])
    assert 7 <= results["scores"]["a.jpg"] <= 10
    stored = system.uploads / results["upload_id"] / results["saved_as"][0]
    assert stored.read_bytes() == portrait


def test_119_two_files_of_one_name_both_survive(system: System, portrait: bytes):
    boundary = "x"
    part = b'--x\r\nContent-Disposition: form-data; name="any"; filename="same.jpg"\r\n\r\n' + portrait + b"\r\n"
    answer = system.client.post(
        f"/upload_imgs?id={PERSON}", part * 2 + b"--x--\r\n", f"multipart/form-data; boundary={boundary}"
    )
    assert code_of(answer, UPLOAD_KEYS) == 119
    assert len(set(answer["upload_results"]["saved"])) == len(set(answer["upload_results"]["saved_as"])) == 2


@pytest.mark.parametrize("prefix", ["", "data:image/jpeg;base64,"])
def test_119_base64_fields(system: System, portrait: bytes, prefix: str):
    text = prefix + base64.b64encode(portrait).decode()
    answer = system.client.form(f"/upload_imgs?id={PERSON}", photo=text)
    assert code_of(answer, UPLOAD_KEYS) == 119
    raw = f"photo={text}".encode()  # as clients send that do not escape "+"
    answer = system.client.post(f"/upload_imgs?id={PERSON}", raw, "application/x-www-form-urlencoded")
    assert code_of(answer, UPLOAD_KEYS) == 119


@pytest.mark.parametrize("path", ["/upload_imgs", "/upload_imgs?id=", "/upload_imgs?ID=RECO_ID_1", "/upload_imgs/"])
def test_110_without_an_id(system: System, path: str):
    answer = system.client.post(path, b"", "multipart/form-data; boundary=x")
    assert code_of(answer, UPLOAD_KEYS) == 110
    assert answer["upload_results"] is None


@pytest.mark.parametrize("person_id", ["nobody", "RECO_ID_1x", "xRECO_ID_1", "RECO_ID_1\n", "../RECO_ID_1", "RECO_ID_"])
def test_127_an_id_that_does_not_match_as_a_whole(system: System, portrait: bytes, person_id: str):
    assert code_of(system.client.upload(person_id, {"a.jpg": portrait}), UPLOAD_KEYS) == 127


@pytest.mark.parametrize("person_id", ["../x", "a/b", "..", "a\\b", "x" * 300, "a\0b"])
def test_127_an_id_that_cannot_be_a_folder(system: System, mariadb: MariaDB, portrait: bytes, person_id: str):
    system.write_env(**mariadb.settings, ID_REGEX="(?s).*")
    before = sorted(system.folder.rglob("*"))
    assert code_of(system.client.upload(person_id, {"a.jpg": portrait}), UPLOAD_KEYS) == 127
    assert [path for path in sorted(system.folder.rglob("*")) if path not in before] == []


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "multipart/form-data; boundary=x"),
        (b"", ""),
        (b"{}", "application/json"),
        (b"--x--\r\n", "multipart/form-data; boundary=x"),
        (b"garbage", "multipart/form-data; boundary=x"),
        (b"garbage", "multipart/form-data"),
        (b"", "application/x-www-form-urlencoded"),
    ],
)
def test_117_no_files(system: System, body: bytes, content_type: str):
    answer = system.client.post(f"/upload_imgs?id={PERSON}", body, content_type)
    assert code_of(answer, UPLOAD_KEYS) == 117


@pytest.mark.parametrize("text", ["no base64!", "data:image/png,plain", "data:image/png;base64,%%%"])
def test_193_broken_base64(system: System, text: str):
    assert code_of(system.client.form(f"/upload_imgs?id={PERSON}", photo=text), UPLOAD_KEYS) == 193


def test_120_all_rejected(system: System):
    blurred = cv2.GaussianBlur(astronaut(), (0, 0), 12)
    answer = system.client.upload(PERSON, {"blurred.jpg": jpeg(blurred), "broken.jpg": b"\xff\xd8\xff"})
    results = answer["upload_results"]
    assert code_of(answer, UPLOAD_KEYS) == 120
    assert list(results) == UPLOAD_RESULT_KEYS
    assert [results[key] for key in ("upload_id", "folder_name", "random_str", "saved_as")] == [None] * 4
    assert (results["rejected"], results["errors"]) == (["blurred.jpg"], ["broken.jpg"])
    assert results["scores"]["blurred.jpg"] < 7
    assert not list(system.uploads.iterdir())


# /upload_db


@pytest.mark.parametrize("path", ["/upload_db", "/verify"])
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "application/x-www-form-urlencoded"),
        (b"", ""),
        (b'{"upload_id": "x"}', "application/json"),
        (b"=", "multipart/form-data; boundary=x"),
    ],
)
def test_107_not_a_form(system: System, path: str, body: bytes, content_type: str):
    keys = RESULT_KEYS if path == "/upload_db" else RECOGNITION_KEYS
    answer = system.client.post(path, body, content_type)
    assert code_of(answer, keys) == 107
    assert answer[keys[2]] is None


@pytest.mark.parametrize("missing", ["upload_id", "name", "delete_pickles", "rebuild_db", "in_place"])
def test_108_a_key_is_missing(system: System, missing: str):
    fields = dict.fromkeys(("upload_id", "name", "delete_pickles", "rebuild_db", "in_place"), "x")
    del fields[missing]
    assert code_of(system.client.form("/upload_db", **fields), RESULT_KEYS) == 108


def test_800_then_850_then_900(system: System, mariadb: MariaDB, portrait: bytes, sibling: bytes):
    assert enroll(system, portrait) == 800
    folder = system.images / f"eileen_collins-{PERSON}"
    first = {path.name: path.read_bytes() for path in folder.rglob("*.png")}
    assert len(first) == 5
    assert enroll(system, sibling, name="Someone Else") == 850
    added = {path.name: path.read_bytes() for path in folder.rglob("*.png")}
    assert len(added) == 10 and first.items() <= added.items()
    assert enroll(system, sibling, name="Eileen M. Collins", in_place=True) == 900
    assert not folder.exists()
    replaced = system.images / f"eileen_m_collins-{PERSON}"
    assert len(list(replaced.rglob("*.png"))) == 5
    with mariadb.connect() as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT * FROM reco_table")
        ((_, person_id, name, path),) = cursor.fetchall()
    assert (person_id, name, Path(path)) == (PERSON, "eileen_m_collins", replaced)


def test_800_answers_what_was_stored(system: System, portrait: bytes):
    answer = system.client.upload_db(upload(system, portrait), "Dwayne  JOHNSON")
    results = answer["upload_results"]
    assert list(results) == ["mysql_id", "message_pickle", "rebuilt_db", "resulting_imgs"]
    assert isinstance(results["mysql_id"], int)
    folder = system.images / f"dwayne_johnson-{PERSON}"
    for key, part in (("main", "faces"), ("aug", "augmented_imgs")):
        assert sorted(results["resulting_imgs"][key]) == sorted(path.name for path in (folder / part).iterdir())
    picture = cv2.imread(str(next((folder / "faces").iterdir())))
    assert picture.shape == (224, 224, 3)


def test_800_crops_have_the_size_of_the_settings(system: System, mariadb: MariaDB, portrait: bytes):
    system.write_env(**mariadb.settings, TARGET_WIDTH="200", TARGET_HEIGHT="260", NUM_AUG="2")
    assert enroll(system, portrait) == 800
    pictures = [cv2.imread(str(path)).shape for path in system.images.rglob("*.png")]
    assert pictures == [(260, 200, 3)] * 3


def test_838_in_place_was_not_needed(system: System, portrait: bytes):
    assert enroll(system, portrait, in_place=True) == 838


def test_the_upload_is_consumed(system: System, portrait: bytes):
    upload_id = upload(system, portrait)
    assert code_of(system.client.upload_db(upload_id, "Eileen"), RESULT_KEYS) == 800
    assert (system.uploads / f"{upload_id}_UPLOADED_TO_DB").is_dir() and not (system.uploads / upload_id).exists()
    assert code_of(system.client.upload_db(upload_id, "Eileen"), RESULT_KEYS) == 189
    assert verify(system, upload_id) == 189


@pytest.mark.parametrize("upload_id", [f"{PERSON}-123", f"{PERSON}-", f"{PERSON}-1_UPLOADED_TO_DB", f"{PERSON}-１"])
def test_189_an_unknown_upload(system: System, upload_id: str):
    assert code_of(system.client.upload_db(upload_id, "x"), RESULT_KEYS) == 189
    assert verify(system, upload_id) == 189


@pytest.mark.parametrize("upload_id", ["", "x", "../../etc-1", f"../{PERSON}-1", f"{PERSON}/../x-1", "-", "\0-1"])
def test_127_an_upload_of_no_id(system: System, upload_id: str):
    assert code_of(system.client.upload_db(upload_id, "x"), RESULT_KEYS) == 127
    assert verify(system, upload_id) == 127


def test_names_cannot_leave_the_image_database(system: System, portrait: bytes):
    assert enroll(system, portrait, name="../../../tmp/Evil/..") == 800
    assert [path.name for path in system.images.glob("*RECO*")] == [f"tmp_evil-{PERSON}"]


@pytest.mark.parametrize("name", ["", "../..", " ", "x" * 500])
def test_108_a_name_without_words(system: System, portrait: bytes, name: str):
    assert code_of(system.client.upload_db(upload(system, portrait), name), RESULT_KEYS) == 108


def test_153_a_photo_is_gone(system: System, portrait: bytes, sibling: bytes):
    upload_id = upload(system, portrait, sibling)
    (system.uploads / upload_id / "002.jpg").unlink()
    assert code_of(system.client.upload_db(upload_id, "x"), RESULT_KEYS) == 153
    assert verify(system, upload_id) == 153


def test_111_the_folder_is_empty(system: System, portrait: bytes):
    upload_id = upload(system, portrait)
    for path in (system.uploads / upload_id).iterdir():
        path.unlink()
    assert code_of(system.client.upload_db(upload_id, "x"), RESULT_KEYS) == 111
    assert verify(system, upload_id) == 111


def test_152_no_photo_with_one_face(system: System, portrait: bytes):
    two_faces = jpeg(np.hstack([astronaut(), astronaut()]))
    upload_id = upload(system, two_faces)
    assert code_of(system.client.upload_db(upload_id, "x"), RESULT_KEYS) == 152
    assert (system.uploads / upload_id).is_dir() and not list(system.images.glob("*RECO*"))
    answer = system.client.upload_db(upload(system, two_faces, portrait), "x")
    assert code_of(answer, RESULT_KEYS) == 800  # the other photo has one
    assert len(answer["upload_results"]["resulting_imgs"]["main"]) == 1


def test_150_the_insert_is_refused_and_nothing_stays(system: System, mariadb: MariaDB, portrait: bytes):
    with mariadb.connect() as connection:
        connection.cursor().execute(
            "CREATE TABLE IF NOT EXISTS world "
            "(ID INT PRIMARY KEY, reco_id VARCHAR(12), reco_name VARCHAR(200), reco_path VARCHAR(500))"
        )
    system.write_env(**mariadb.settings, SQL_TABLE="world")
    upload_id = upload(system, portrait)
    for _ in range(2):
        assert code_of(system.client.upload_db(upload_id, "x"), RESULT_KEYS) == 150
    assert not list(system.images.glob("*RECO*")) and not list((system.images / ".staging").iterdir())
    assert (system.uploads / upload_id).is_dir()
    with mariadb.connect() as connection:
        connection.cursor().execute("ALTER TABLE world MODIFY reco_id VARCHAR(40)")
    assert code_of(system.client.upload_db(upload_id, "x"), RESULT_KEYS) == 800


def test_a_table_of_the_original_is_used_as_it_is(system: System, mariadb: MariaDB, portrait: bytes, sibling: bytes):
    """Other column names, an ID that does not count by itself, a person with photos but no templates."""
    assert enroll(system, portrait, person_id="RECO_ID_1") == 800
    folder = next(system.images.glob("*-RECO_ID_1"))
    folder.rename(system.images / "ellen_ripley-RECO_ID_7")
    for path in (system.images / "ellen_ripley-RECO_ID_7").rglob("*.png"):
        path.write_bytes(cv2.imencode(".png", cv2.imread(str(path)))[1].tobytes())  # no landmarks in it
    with mariadb.connect() as connection:
        cursor = connection.cursor()
        cursor.execute("DROP TABLE IF EXISTS faces")
        cursor.execute("CREATE TABLE faces (k INT PRIMARY KEY, rid VARCHAR(12), label VARCHAR(200), dir VARCHAR(500))")
        cursor.execute(r"INSERT INTO faces VALUES (41, 'RECO_ID_7', 'ellen_ripley', 'I:\\db\\ellen_ripley-RECO_ID_7')")
    system.write_env(**mariadb.settings, SQL_TABLE="faces", ID_COL="rid", NAME_COL="label", PATH_COL="dir")
    upload_id = upload(system, sibling, person_id="RECO_ID_7")
    assert verify(system, upload_id, skip_verify=True) == 134
    assert verify(system, upload_id) == 200
    answer = system.client.upload_db(upload(system, portrait, person_id="RECO_ID_8"), "Eileen")
    assert answer["upload_results"]["mysql_id"] == 42


def test_pickles_of_the_original_are_deleted_on_demand(system: System, portrait: bytes):
    (system.images / "representations_dlib.pkl").write_bytes(b"old")
    answer = system.client.upload_db(upload(system, portrait), "x", delete_pickles=True, rebuild_db=True)
    results = answer["upload_results"]
    assert results["message_pickle"]["result"]["representations_dlib.pkl"] == 670
    assert results["rebuilt_db"]["result"][RECOGNISER] == 167
    assert not list(system.images.glob("*.pkl"))
    answer = system.client.upload_db(upload(system, portrait), "x", rebuild_db=True)
    assert list(answer["upload_results"]["rebuilt_db"]["result"]) == ["message"]


# /verify


@pytest.mark.parametrize("missing", ["upload_id", "skip_verify", "skip_db_search", "skip_liveness"])
def test_109_a_key_is_missing(system: System, missing: str):
    fields = dict.fromkeys(("upload_id", "skip_verify", "skip_db_search", "skip_liveness"), "x")
    del fields[missing]
    answer = system.client.form("/verify", **fields)
    assert code_of(answer, RECOGNITION_KEYS) == 109
    assert answer["recognition_results"] is None


def test_143_both_skipped(system: System):
    assert verify(system, f"{PERSON}-1", skip_verify=True, skip_db_search=True) == 143


def test_200_134_and_500(system: System, portrait: bytes, sibling: bytes, photos: Path):
    assert enroll(system, portrait) == 800
    answer = system.client.verify(upload(system, sibling), skip_liveness=True)
    assert code_of(answer, RECOGNITION_KEYS) == 200
    assert list(answer["recognition_results"]) == ["name", "distance"]
    assert answer["recognition_results"]["name"] == "Eileen Collins"
    assert verify(system, upload(system, sibling), skip_verify=True) == 134
    stranger = (photos / "faces" / "deepface" / "id_img13" / "img13.jpg").read_bytes()
    answer = system.client.verify(upload(system, stranger), skip_liveness=True)
    assert code_of(answer, RECOGNITION_KEYS) == 500
    assert answer["recognition_results"] == {"name": None, "distance": None}
    assert verify(system, upload(system, stranger), skip_db_search=True) == 500


def test_100_somebody_else_is_found(system: System, portrait: bytes, sibling: bytes, photos: Path):
    stranger = (photos / "faces" / "deepface" / "id_img13" / "img13.jpg").read_bytes()
    assert enroll(system, portrait) == 800
    assert enroll(system, stranger, person_id="RECO_ID_13", name="thirteen") == 800
    assert verify(system, upload(system, sibling, person_id="RECO_ID_13")) == 100


def test_116_the_id_has_no_row(system: System, portrait: bytes):
    assert verify(system, upload(system, portrait)) == 116


def test_113_the_folder_is_gone(system: System, portrait: bytes):
    assert enroll(system, portrait) == 800
    shutil.rmtree(next(system.images.glob("*RECO*")))
    assert verify(system, upload(system, portrait)) == 113


def test_630_no_face(system: System, mariadb: MariaDB):
    system.write_env(**mariadb.settings, SCORE_TOL="0.000")
    wall = np.random.default_rng(1).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    assert verify(system, upload(system, jpeg(wall))) == 630


def test_178_the_liveness_model_cannot_be_loaded(system: System, mariadb: MariaDB, portrait: bytes):
    system.write_env(**mariadb.settings, MODEL_NAME="absent.h5", MODEL_URL="http://127.0.0.1:9/absent.h5")
    assert enroll(system, portrait) == 800
    upload_id = upload(system, portrait)
    assert verify(system, upload_id, skip_liveness=False) == 178
    assert verify(system, upload_id) == 200
    system.write_env(**mariadb.settings)
    assert verify(system, upload_id, skip_liveness=False) in (200, 560)  # a mended setting needs no restart


def test_560_all_faces_are_spoofs(system: System, mariadb: MariaDB, photos: Path):
    system.write_env(**mariadb.settings, SCORE_TOL="0.000")
    spoof = (photos / "spoof" / "replay" / "silentface_image_F2_fake.jpg").read_bytes()
    assert verify(system, upload(system, spoof), skip_liveness=False) == 560


def test_155_the_database_is_stopped_and_comes_back(system: System, mariadb: MariaDB, portrait: bytes, sibling: bytes):
    assert enroll(system, portrait) == 800
    probe, more = upload(system, sibling), upload(system, sibling)
    mariadb.stop()
    try:
        assert verify(system, probe) == 155
        assert verify(system, probe, skip_verify=True) == 155
        assert code_of(system.client.upload_db(more, "x"), RESULT_KEYS) == 155
    finally:
        mariadb.start()
    assert verify(system, probe) == 200
    assert code_of(system.client.upload_db(more, "x"), RESULT_KEYS) == 850


# every endpoint


@pytest.mark.parametrize("path", ["/upload_imgs?id=RECO_ID_1", "/upload_db", "/verify"])
def test_176_a_broken_env_is_reported_key_by_key(system: System, mariadb: MariaDB, path: str):
    broken = {
        "NUM_AUG": None,
        "SIM_FUNC": None,
        "TARGET_WIDTH": "wide",
        "SUPER_PASSWORD": "simple",
        "DB_PATH": "nowhere",
    }
    system.write_env(**{**mariadb.settings, **broken})
    fields = dict.fromkeys(("upload_id", "name", "delete_pickles", "rebuild_db", "in_place", "skip_verify"), "x")
    answer = system.client.form(path, **fields, skip_db_search="x", skip_liveness="x")
    assert [value for key, value in answer.items() if key.endswith("_code")] == [176]
    assert answer["system_errors"]["not_in_env"] == ["NUM_AUG", "SIM_FUNC"]
    errors = answer["system_errors"]["env_errs"]
    assert [error.partition(":")[0] for error in errors] == ["DB_PATH", "TARGET_WIDTH", "SUPER_PASSWORD"]
    system.write_env(**mariadb.settings)
    answer = system.client.form(path, **fields, skip_db_search="x", skip_liveness="x")
    assert [value for key, value in answer.items() if key.endswith("_code")] != [176]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/verify", 405),
        ("PUT", "/upload_imgs?id=RECO_ID_1", 405),
        ("GET", "/nowhere", 404),
        ("POST", "/", 405),
        ("POST", "/reco.gateway.v1.LegacyService/Verify", 404),
        ("POST", "/v1/uploads", 400),
    ],
)
def test_what_is_not_in_the_contract_is_refused_as_json(system: System, method: str, path: str, status: int):
    url = f"http://localhost:{system.port}{path}"
    request = urllib.request.Request(url, b"no json", {"Content-Type": "application/json"}, method=method)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20)
    assert refused.value.code == status
    answer = json.load(refused.value)
    assert {"code", "message"} <= answer.keys() and isinstance(answer["message"], str)


def test_any_origin_may_call(system: System):
    headers = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    request = urllib.request.Request(f"http://localhost:{system.port}/verify", headers=headers, method="OPTIONS")
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.headers["access-control-allow-origin"] in ("*", "https://example.org")


def test_a_person_can_be_erased(system: System, portrait: bytes, sibling: bytes):
    assert enroll(system, portrait) == 800
    upload(system, sibling)
    other = upload(system, sibling, person_id="RECO_ID_0000231")
    for existed in (True, False):
        url = f"http://localhost:{system.port}/v1/people/{PERSON}"
        with urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=20) as answer:
            assert json.load(answer) == {"existed": existed}
    assert not list(system.images.rglob("*.png"))
    assert [path.name for path in system.uploads.iterdir()] == [other]
    assert verify(system, other, skip_verify=True) == 500
