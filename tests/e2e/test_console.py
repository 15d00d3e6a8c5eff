"""The console in a real browser: each page's main path, and what happens where something is amiss."""

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from deploy.local.demo import astronaut, jpeg
from services.gateway.access.keyring import INTERVAL
from tests.e2e.api import Api
from tests.e2e.browser import Tab, chromium
from tests.e2e.keys import access
from tests.e2e.system import System

PERSON, NAME = "RECO_ID_000023", "Eileen <img src=x onerror=alert(1)>"
PAGES = ("try", "people", f"people/{PERSON}", "enroll", "verify", "review", "operations", "installation", "docs")


@pytest.fixture(scope="module")
def system(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("console")
    with System(folder, mirror=photos / "weights", SCORE_TOL="5.000", NUM_AUG="0") as system:
        Api(system).create(PERSON, jpeg(astronaut()), name=NAME, labels=["crew"])
        yield system


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with sync_playwright() as playwright, chromium(playwright, tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def tab(system: System, browser: Browser) -> Iterator[Tab]:
    page = browser.new_page()
    page.set_default_timeout(20_000)
    tab = Tab(page, f"http://localhost:{system.port}")
    yield tab
    page.close()
    assert tab.complaints == [] and tab.elsewhere == []


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture(tmp_path_factory.mktemp("pictures") / "portrait.jpg", cv2.flip(astronaut(), 1))


@pytest.fixture(scope="module")
def landscape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture(tmp_path_factory.mktemp("pictures") / "landscape.jpg", astronaut()[:150, 350:500])


def picture(file: Path, image: Any) -> Path:
    file.write_bytes(jpeg(image))
    return file


def choose(page: Page, file: Path, number: int = 0) -> None:
    """As somebody does in the dialog that the button opens."""
    page.locator("main input[type=file]").nth(number).set_input_files(file)


# What is served


def test_only_its_own_files_are_served_under_a_strict_policy(system: System):
    with urllib.request.urlopen(f"http://localhost:{system.port}/") as answer:
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["form-action"] == "'none'"
    api = Api(system)
    assert api.ask("GET", "/console/main.js")[0] == 200
    for path in ("/console/../settings.py", "/console/%2e%2e/settings.py", "/console/pages", "/console/x.js"):
        status, answer = api.ask("GET", path)
        assert status == 404 and "import" not in str(answer), path
    assert api.ask("POST", "/console/main.js", {})[0] == 405


# Pages


def test_who_it_is_stands_at_the_face(tab: Tab, portrait: Path):
    page = tab.open("try")
    choose(page, portrait)
    expect(page.locator(".frame.known")).to_have_text(NAME)
    face = page.locator(".faces li")
    expect(face).to_contain_text(NAME)
    expect(face).to_contain_text("living face")
    expect(page.locator(".result")).to_contain_text("picture quality")


def test_a_picture_without_a_face_says_so_and_what_is_no_picture_too(tab: Tab, landscape: Path, tmp_path: Path):
    page = tab.open("try")
    choose(page, landscape)
    expect(page.locator(".verdict")).to_have_text("No face was found in this picture.")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    choose(page, broken)
    expect(page.get_by_role("alert")).to_contain_text("cannot read that picture")


def test_the_camera_takes_a_picture(tab: Tab):
    page = tab.open("try")
    page.get_by_role("button", name="use the camera").click()
    page.get_by_role("button", name="Take the picture").click()
    expect(page.locator(".faces li")).to_contain_text(NAME)


def test_two_pictures_are_compared(tab: Tab, portrait: Path, tmp_path: Path):
    page = tab.open("try")
    page.get_by_role("tab", name="Compare two").click()
    choose(page, portrait)
    expect(page.locator(".framed")).to_have_count(1)
    choose(page, picture(tmp_path / "other.jpg", astronaut()))
    expect(page.locator(".verdict")).to_have_text("One person")
    expect(page.locator(".frame")).to_have_count(2)


def test_people_are_found_changed_and_erased(tab: Tab, portrait: Path, system: System):
    Api(system).create("RECO_ID_31", portrait.read_bytes(), name="Zoe Bell")
    page = tab.open("people")
    expect(page.locator(".people li")).to_have_count(2)
    expect(page.locator(".people img")).to_have_count(2)
    page.get_by_label("Name begins with").fill("zo")
    page.get_by_role("button", name="Find").click()
    expect(page.locator(".people li")).to_have_count(1)
    page.locator(".people a").click()
    page.get_by_label("Name").fill("Zoe Bell-Ray")
    page.get_by_label("Labels").fill("door, berlin")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    assert Api(system).get("/v1/people/RECO_ID_31")["labels"] == ["berlin", "door"]
    choose(page, portrait)
    expect(page.locator(".people li")).to_have_count(2)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete this photo").first.click()
    expect(page.locator(".people li")).to_have_count(1)
    page.get_by_role("button", name="Delete this photo").click()
    expect(page.get_by_role("alert")).to_contain_text("last photo")
    page.get_by_role("button", name="Erase this person").click()
    page.get_by_role("button", name="Erase", exact=True).click()
    assert Api(system).get("/v1/people/RECO_ID_31"), "it is asked twice"
    page.get_by_role("button", name="Yes, erase for good").click()
    expect(page).to_have_url(re.compile("#/people$"))
    assert Api(system).ask("GET", "/v1/people/RECO_ID_31")[0] == 404


def test_photos_and_folders_become_people(tab: Tab, portrait: Path, landscape: Path, tmp_path: Path, system: System):
    page = tab.open("enroll")
    for name, images in (("Ann_Lee", [portrait, landscape]), ("Bob", [landscape])):
        (tmp_path / "all" / name).mkdir(parents=True)
        for image in images:
            (tmp_path / "all" / name / image.name).write_bytes(image.read_bytes())
    choose(page, tmp_path / "all", 1)
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_role("button", name="Enroll 2 people").click()
    ann, bob = (
        page.locator("tbody tr").filter(has=page.locator(f"input[value='{name}']")) for name in ("Ann Lee", "Bob")
    )
    expect(ann).to_contain_text("enrolled: RECO_ID_")
    expect(ann).to_contain_text(re.compile("landscape.jpg: (no face|quality too low)"))
    expect(ann).to_contain_text("looks like Eileen")
    expect(bob).to_contain_text("refused")
    (found,) = Api(system).get("/v1/people?name_prefix=ann")["people"]
    assert found["display_name"] == "Ann Lee"
    assert Api(system).ask("DELETE", f"/v1/people/{found['person_id']}")[0] == 200


def test_more_photos_than_a_request_holds_come_in_several(tab: Tab, tmp_path: Path, system: System):
    large = cv2.resize(astronaut(), (1600, 1600), interpolation=cv2.INTER_CUBIC)
    photos = [picture(tmp_path / f"{number}.jpg", large[: 1600 - number]) for number in range(20)]
    page = tab.open("enroll")
    page.locator("main input[type=file]").nth(0).set_input_files(photos)
    page.get_by_label("Name", exact=True).fill("Large Ann")
    with page.expect_request("**/photos"):
        page.get_by_role("button", name="Enroll", exact=True).click()
    expect(page.locator("tbody tr")).to_contain_text("enrolled: RECO_ID_")
    (found,) = Api(system).get("/v1/people?name_prefix=large")["people"]
    assert len(Api(system).get(f"/v1/people/{found['person_id']}/photos")["photos"]) == 20
    assert Api(system).ask("DELETE", f"/v1/people/{found['person_id']}")[0] == 200


def test_the_camera_guides(tab: Tab):
    """The clip looks straight at the camera: after that pose another one is asked for."""
    page = tab.open("enroll")
    page.get_by_role("button", name="Use the camera").click()
    expect(page.locator(".kept img")).to_have_count(1)
    expect(page.locator(".advice")).to_contain_text("to the left")
    page.get_by_role("button", name="Stop the camera").click()
    expect(page.locator(".kept")).to_have_count(0)


def test_an_id_and_a_face(tab: Tab, portrait: Path, landscape: Path):
    page = tab.open("verify")
    page.get_by_label("ID", exact=True).fill(PERSON)
    choose(page, portrait)
    expect(page.locator(".verdict")).to_have_text(f"It is {NAME}")
    expect(page.locator(".facts")).to_contain_text("Threshold")
    choose(page, landscape)
    expect(page.get_by_role("alert")).to_contain_text("no face was found")
    page.get_by_label("ID", exact=True).fill("RECO_ID_404")
    choose(page, portrait)
    expect(page.get_by_role("alert")).to_contain_text("not enrolled")


def test_who_is_enrolled_twice_is_merged(tab: Tab, portrait: Path, system: System):
    Api(system).create("RECO_ID_41", portrait.read_bytes(), name="Eileen Again")
    page = tab.open("review")
    page.get_by_role("button", name="Look for pairs").click()
    expect(page.locator(".pairs li")).to_contain_text("Eileen Again")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Merge into one").click()
    expect(page.locator(".pairs li")).to_have_count(0)
    assert Api(system).ask("GET", "/v1/people/RECO_ID_41")[0] == 404
    assert len(Api(system).get(f"/v1/people/{PERSON}/photos")["photos"]) == 2


def test_an_operator_sees_what_goes_on(tab: Tab, system: System):
    for _ in range(21):
        Api(system).ask("DELETE", "/v1/people/RECO_ID_404")
    page = tab.open("operations")
    expect(page.locator(".chart")).to_have_count(4)
    expect(page.locator("main")).to_contain_text("enrolled.")
    expect(page.locator("main")).to_contain_text("The first one is made on the machine itself")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Make all templates anew").click()
    work = page.get_by_role("region", name="Long work")
    expect(work).to_contain_text("Templates made anew")
    expect(work).to_contain_text("done")
    log = page.get_by_role("region", name="Audit log")
    expect(log).to_contain_text("anonymous")
    expect(log.locator("tbody tr")).to_have_count(20)
    page.get_by_role("button", name="Earlier").click()
    expect(log.locator("tbody tr").nth(20)).to_be_visible()


def test_what_the_installation_is_and_how_it_is_asked(tab: Tab):
    page = tab.open("installation")
    expect(page.locator("table")).to_contain_text("MobileFaceNet")
    expect(page.locator("dl").first).to_contain_text("serving")
    page = tab.open("docs")
    page.get_by_text("POST /v1/faces:identify").click()
    expect(page.locator("details[open] pre")).to_contain_text(f"{tab.origin}/v1/faces:identify")


# Where something is amiss


def test_a_service_that_is_down_is_said_to_be_and_can_be_tried_again(tab: Tab, portrait: Path):
    page = tab.open("try")
    tab.refuse("**/v1/faces:*", 503)
    choose(page, portrait)
    expect(page.get_by_role("alert")).to_contain_text("not available now")
    page.unroute("**/v1/faces:*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".faces li")).to_contain_text(NAME)


def test_no_network_is_said_too(tab: Tab, portrait: Path):
    page = tab.open("try")
    page.route("**/v1/faces:*", lambda route: route.abort())
    choose(page, portrait)
    expect(page.get_by_role("alert")).to_contain_text("does not answer")


def test_a_slow_network_shows_that_something_goes_on(tab: Tab, portrait: Path):
    page = tab.open("try")
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        waiting.append(route)

    page.route("**/v1/faces:identify", hold)
    choose(page, portrait)
    expect(page.locator(".result")).to_have_text("Looking …")
    waiting[0].continue_()
    expect(page.locator(".faces li")).to_contain_text(NAME)


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_anybody_out(tab: Tab, path: str, scheme: Any):
    """By the rules of axe; on a phone's width nothing reaches beyond the edge."""
    tab.page.emulate_media(color_scheme=scheme)
    tab.page.set_viewport_size({"width": 375, "height": 720})
    page = tab.open(path)
    page.wait_for_load_state("networkidle")
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_pages_are_reached_by_keyboard(tab: Tab):
    page = tab.open("try")
    page.get_by_role("link", name="People").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("People")
    expect(page.locator("main")).to_be_focused()


# Keys; from here on the system wants one


def test_a_key_is_asked_for_once_kept_in_the_tab_and_asked_for_again_when_it_ends(
    tab: Tab, system: System, portrait: Path
):
    keys = {role: access(system.folder, "new", "--name", role, "--role", role) for role in ("verify", "admin")}
    tab.page.wait_for_timeout(1000 * (INTERVAL + 1))
    page = tab.open("people")

    def give(key: str) -> None:
        page.get_by_role("textbox", name="Key").fill(key)
        page.get_by_role("button", name="Go on").click()

    expect(page.get_by_role("dialog")).to_be_visible()
    give("wrong")
    expect(page.get_by_role("alert")).to_contain_text("not, or no longer, valid")
    give(keys["verify"])
    expect(page.get_by_role("alert")).to_contain_text("higher role")
    page = tab.open("try")
    choose(page, portrait)
    expect(page.locator(".faces li")).to_contain_text(NAME)
    page.get_by_role("button", name="Forget the key").click()
    page = tab.open("people")
    give(keys["admin"])
    expect(page.locator(".people img")).to_have_count(1)
    assert page.evaluate("[localStorage.length, document.cookie, sessionStorage.length]") == [0, "", 1]
    page = tab.open("operations")
    page.get_by_label("Name").fill("door")
    page.get_by_role("button", name="Make a key").click()
    assert page.locator("pre").inner_text().startswith("reco_")
    row = page.get_by_role("row", name="door")
    expect(row).to_contain_text("valid")
    page.once("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button", name="Revoke").click()
    expect(row).to_contain_text("revoked")
    page = tab.open("people")
    access(system.folder, "revoke", "--name", "admin")
    page.wait_for_timeout(1000 * (INTERVAL + 1))
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("dialog")).to_contain_text("not, or no longer, valid")
    page.get_by_role("button", name="Keep").or_(page.get_by_role("button", name="Cancel")).click()
