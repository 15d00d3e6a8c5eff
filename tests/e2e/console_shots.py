"""`make console-shots`: the documents' pictures of the console. Its one person is shown by a photo in the public domain."""

import tempfile
from pathlib import Path

import cv2
from playwright.sync_api import Page, sync_playwright

from deploy.local.demo import astronaut, jpeg
from tests.e2e.api import Api
from tests.e2e.browser import chromium
from tests.e2e.system import System
from tests.load.messages import data_folder
from tests.machine import ROOT

PICTURES = ROOT / "docs" / "pictures"
PERSON = "RECO_ID_000023"


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo = folder / "photo.jpg"
        photo.write_bytes(jpeg(cv2.flip(astronaut(), 1)))
        with (
            System(folder, mirror=data_folder() / "weights", SCORE_TOL="5.000", NUM_AUG="0") as system,
            sync_playwright() as playwright,
            chromium(playwright, folder) as browser,
        ):
            Api(system).create(
                PERSON, jpeg(astronaut()), photo.read_bytes(), name="Eileen Collins", labels=["crew", "nasa"]
            )
            page = browser.new_page(viewport={"width": 1000, "height": 760})
            take(page, f"http://localhost:{system.port}", photo)


def take(page: Page, origin: str, photo: Path) -> None:
    """Each page's picture, when what it shows is there."""
    page.goto(f"{origin}/#/try")
    page.locator("main input[type=file]").set_input_files(photo)
    page.locator(".faces li").wait_for()
    shoot(page, "try")
    page.goto(f"{origin}/#/people/{PERSON}")
    page.locator(".people img").nth(1).wait_for()
    shoot(page, "person")
    page.goto(f"{origin}/#/verify")
    page.get_by_label("ID", exact=True).fill(PERSON)
    page.locator("main input[type=file]").set_input_files(photo)
    page.locator(".verdict").wait_for()
    shoot(page, "verify")
    page.goto(f"{origin}/#/operations")
    page.locator("tbody tr").first.wait_for()
    shoot(page, "operations")


def shoot(page: Page, name: str) -> None:
    PICTURES.mkdir(exist_ok=True)
    page.screenshot(path=PICTURES / f"console-{name}.jpg", type="jpeg", quality=80, full_page=True)


if __name__ == "__main__":
    main()
