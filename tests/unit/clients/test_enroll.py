"""`reco enroll`: who is found in a folder, and that nobody is enrolled twice."""

import json
import re
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from reco_client import Client, NotAllowed, Retries, Unavailable
from reco_client.cli.app import app
from reco_client.cli.enroll import Result, Runner
from reco_client.cli.journal import Journal
from reco_client.cli.output import printable
from reco_client.cli.plan import MAX_PHOTO_BYTES, Names, Plan, plan_csv, plan_folder

NAMES = Names(r"RECO_ID_\d+")


def put(folder: Path, *names: str) -> Path:
    """Files that are all different."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(f"picture {name}".encode())
    return folder


def people(plan: Plan) -> dict[str, tuple[str, str, int]]:
    return {key: (one.name, one.person_id, len(one.photos)) for key, one in plan.people.items()}


def whys(plan: Plan) -> dict[str, str]:
    return {refused.file: refused.why for refused in plan.refused}


def test_a_folder_is_a_person_and_says_who(tmp_path: Path):
    put(tmp_path, "Ann_McLee/a.jpg", "Ann_McLee/deep/er/b.PNG", "zoë lee-RECO_ID_7/a.heic", "RECO_ID_8/a.webp")
    assert people(plan_folder(tmp_path, NAMES)) == {
        "Ann_McLee": ("Ann McLee", "", 2),
        "zoë lee-RECO_ID_7": ("zoë lee", "RECO_ID_7", 1),
        "RECO_ID_8": ("RECO_ID_8", "RECO_ID_8", 1),
    }


def test_files_are_named_for_their_person(tmp_path: Path):
    put(tmp_path, "Ann_McLee_RECO_ID_7.jpg", "Ann_McLee_RECO_ID_7_2.jpg", "Bob_RECO_ID_8-front.jpg", "Cy.jpg")
    plan = plan_folder(tmp_path, NAMES)
    assert people(plan) == {"RECO_ID_7": ("Ann McLee", "RECO_ID_7", 2), "RECO_ID_8": ("Bob", "RECO_ID_8", 1)}
    assert whys(plan) == {"Cy.jpg": "neither in a person's folder nor named NAME_ID"}


def test_what_lies_elsewhere_or_is_no_picture_is_not_sent(tmp_path: Path):
    outside = put(tmp_path / "outside", "secret.jpg")
    folder = put(tmp_path / "in", "Ann/a.jpg", "Ann/notes.txt", "Ann/.hidden.jpg", ".hidden/a.jpg")
    (folder / "Ann" / "link.jpg").symlink_to(outside / "secret.jpg")
    (folder / "Ann" / "inside.jpg").symlink_to(folder / "Ann" / "a.jpg")
    (folder / "Ann" / "loop.jpg").symlink_to(folder / "Ann" / "loop.jpg")
    (folder / "Bob").symlink_to(outside)
    (folder / "Ann" / "empty.jpg").touch()
    with open(folder / "Ann" / "huge.jpg", "wb") as file:
        file.truncate(MAX_PHOTO_BYTES + 1)
    plan = plan_folder(folder, NAMES)
    assert [path.name for path in plan.people["Ann"].photos] == ["a.jpg", "inside.jpg"]
    assert set(plan.people) == {"Ann"}
    assert whys(plan) == {
        "Ann/notes.txt": "no picture by its name",
        "Ann/link.jpg": "leads out of the folder",
        "Ann/loop.jpg": "cannot be read",
        "Ann/empty.jpg": "empty",
        "Ann/huge.jpg": "larger than 7.9 MiB",
        "Bob": "leads out of the folder",
    }


def test_a_table_says_who(tmp_path: Path):
    folder = put(tmp_path / "in", "1.jpg", "2.jpg", "3.jpg")
    put(tmp_path, "out.jpg")
    table = tmp_path / "people.csv"
    table.write_text(
        "person_id,name,photo,labels,external_id\n"
        'RECO_ID_7,"McLee, Ann",1.jpg,staff; berlin,e-1\nRECO_ID_7,,2.jpg\nRECO_ID_7,Ann,2.jpg\n,Bob,3.jpg\n'
        f",Bob,../out.jpg\n,Bob,{tmp_path}/out.jpg\n,Bob,none.jpg\n,Bob,\n"
    )
    plan = plan_csv(folder, table)
    assert people(plan) == {"RECO_ID_7": ("McLee, Ann", "RECO_ID_7", 2), "Bob": ("Bob", "", 1)}
    assert plan.people["RECO_ID_7"].labels == ("staff", "berlin")
    assert [refused.why for refused in plan.refused] == [
        "has no name", "leads out of the folder", "leads out of the folder", "cannot be read", "has no photo",
    ]  # fmt: skip


@pytest.mark.parametrize("text", [b"", b"a,b\n1,2\n", b"name,photo\n\xff\xfe,1.jpg\n"])
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: bytes):
    (tmp_path / "people.csv").write_bytes(text)
    with pytest.raises(ValueError):
        plan_csv(tmp_path, tmp_path / "people.csv")


def test_a_pattern_that_cannot_be_read_is_told():
    with pytest.raises(ValueError, match="ID_REGEX"):
        Names("(")


class FakeReco:
    """Enrolls whoever is sent, by request_id, as RECO does; ends after some requests, or refuses all."""

    def __init__(self) -> None:
        self.people: dict[str, str] = {}
        self.photos: dict[str, list[str]] = {}
        self.requests = 0
        self.ends_after = 1_000_000
        self.loses_answers = False
        self.status = 200
        self.blurred: tuple[bytes, ...] = ()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        if self.requests > self.ends_after:
            raise httpx.ConnectError("gone")
        if self.status != 200:
            return httpx.Response(self.status, json={"message": "no"})
        body = request.read()
        request_id = re.findall(rb'name="request_id"\r\n\r\n(.+?)\r\n', body)[0].decode()
        names = re.findall(rb'filename="(.+?)"', body)
        person_id = request.url.path.split("/")[3] if request.url.path.endswith("/photos") else self._person(request_id)
        if person_id not in self.photos:
            return httpx.Response(404, json={"message": "no"})
        self.photos[person_id] += [f"{request_id} {name.decode()}" for name in names]
        self.photos[person_id] = sorted(set(self.photos[person_id]))
        if self.loses_answers:
            raise httpx.ReadError("cut")
        reports = [{"name": name.decode(), "outcome": f"OUTCOME_{self._outcome(name)}"} for name in names]
        return httpx.Response(200, json={"person": {"person_id": person_id}, "photos": reports})

    def _outcome(self, name: bytes) -> str:
        return "LOW_QUALITY" if name in self.blurred else "ENROLLED"

    def _person(self, request_id: str) -> str:
        person_id = self.people.setdefault(request_id, f"RECO_ID_{len(self.people)}")
        self.photos.setdefault(person_id, [])
        return person_id

    def enroll(self, folder: Path, journal: str = "journal") -> list[Result]:
        plan = plan_folder(folder, NAMES)
        transport = httpx.MockTransport(self)
        kept = Journal(folder.parent / journal, "http://reco")
        with Client("http://reco", transport=transport, retries=Retries(0)) as client:
            return sorted(Runner(client, kept, lambda _: None, workers=1).run(plan), key=lambda one: one.key)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return put(tmp_path / "in", "Ann/1.jpg", "Ann/2.jpg", "Bob/1.jpg", "Cy/1.jpg")


def test_everybody_is_enrolled_once_however_often_it_is_run(folder: Path):
    reco = FakeReco()
    first = reco.enroll(folder)
    assert [(one.key, one.enrolled, one.before) for one in first] == [
        ("Ann", 2, False),
        ("Bob", 1, False),
        ("Cy", 1, False),
    ]
    asked = reco.requests
    assert all(one.before for one in reco.enroll(folder)) and reco.requests == asked
    reco.enroll(folder, "another journal")
    assert len(reco.people) == 3 and sum(map(len, reco.photos.values())) == 4


@pytest.mark.parametrize("lost", [False, True])
def test_a_run_that_ended_goes_on_where_it_was(folder: Path, lost: bool):
    reco = FakeReco()
    if lost:
        reco.loses_answers = True
    else:
        reco.ends_after = 1
    with pytest.raises(Unavailable):
        reco.enroll(folder)
    with open(folder.parent / "journal", "ab") as journal:
        journal.write(b'{"url": "http://reco", "key": "Bob", "pers')  # what a kill may leave
    reco.ends_after, reco.loses_answers = 1_000_000, False
    results = reco.enroll(folder)
    assert [one.before for one in results] == [not lost, False, False]
    assert len(reco.people) == 3 and sum(map(len, reco.photos.values())) == 4
    assert all(one.before for one in reco.enroll(folder)), "the line after the broken one was read"


def test_photos_that_came_since_are_added(folder: Path):
    reco = FakeReco()
    reco.enroll(folder)
    put(folder, "Bob/2.jpg")
    results = reco.enroll(folder)
    assert [(one.key, one.enrolled) for one in results if one.enrolled] == [("Bob", 1)]
    assert len(reco.people) == 3 and sorted(map(len, reco.photos.values())) == [1, 2, 2]


def test_who_was_erased_since_is_enrolled_anew(folder: Path):
    reco = FakeReco()
    reco.enroll(folder)
    reco.photos.pop("RECO_ID_1")
    put(folder, "Bob/2.jpg")
    (bob,) = [one for one in reco.enroll(folder) if one.key == "Bob"]
    assert bob.person_id == "RECO_ID_3" and bob.enrolled == 2


def test_photos_that_do_not_do_are_told_each_time_until_they_do(folder: Path):
    reco = FakeReco()
    reco.blurred = (b"2.jpg",)
    for _ in range(2):
        (ann, *_) = reco.enroll(folder)
        assert [refused.why for refused in ann.refused] == ["its quality score is below SCORE_TOL"]
    reco.blurred = ()
    assert [one.enrolled for one in reco.enroll(folder)] == [1, 0, 0]
    assert all(one.before for one in reco.enroll(folder))


def test_another_installation_is_another_matter(folder: Path):
    FakeReco().enroll(folder)
    assert Journal(folder.parent / "journal", "http://elsewhere").of("Ann") is None


def test_a_key_that_is_refused_ends_it(folder: Path):
    reco = FakeReco()
    reco.status = 403
    with pytest.raises(NotAllowed):
        reco.enroll(folder)
    assert reco.requests <= 3


def test_a_person_who_is_refused_does_not(folder: Path):
    reco = FakeReco()
    reco.status = 409
    results = reco.enroll(folder)
    assert [(one.person_id, one.refused[0].why) for one in results] == [("", "no (409)")] * 3


def test_a_journal_is_nobody_elses_to_read_and_no_link(tmp_path: Path):
    Journal(tmp_path / "journal", "http://reco").write("Ann", "RECO_ID_1", ("0" * 64,))
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o600
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError):
        Journal(tmp_path / "link", "http://reco")


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["--url", "http://127.0.0.1:9", "--retries", "0", "info"], 4),
        (["--url", "nonsense", "info"], 2),
        (["identify"], 2),
        (["identify", "/none.jpg"], 2),
        (["people", "label", "RECO_ID_1"], 2),
        (["people", "show", ".."], 2),
    ],
)
def test_statuses(command: list[str], status: int):
    assert CliRunner().invoke(app, command).exit_code == status


def test_an_error_is_json_where_that_is_asked_for():
    result = CliRunner().invoke(app, ["--url", "http://127.0.0.1:9", "--retries", "0", "people", "list", "--json"])
    assert json.loads(result.stdout)["error"]["status"] == 0 and result.exit_code == 4


def test_a_name_steers_no_terminal():
    assert printable("Ann\x1b[2J\r\n\u202eé") == "Ann?[2J???é"
