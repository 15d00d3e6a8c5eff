"""A real browser in front of a running system, and what it must never do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Playwright, Route

from deploy.local.demo import astronaut, jpeg

CHROMIUM = Path("/usr/bin/chromium")

#: A webcam that shows the clip, and is allowed.
CAMERA = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]


@contextmanager
def chromium(playwright: Playwright, folder: Path) -> Iterator[Browser]:
    """Debian's, whose webcam shows a portrait."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not here")
    clip = folder / "webcam.mjpeg"
    clip.write_bytes(jpeg(astronaut()[:320, 60:380]) * 20)
    arguments = ["--no-sandbox", *CAMERA, f"--use-file-for-fake-video-capture={clip}"]
    browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
    yield browser
    browser.close()


class Tab:
    """A page of the console, and what went wrong in it.

    Attributes:
        complaints: errors of scripts, and violations of the page's Content-Security-Policy.
        elsewhere: addresses other than the system's that it asked for.
    """

    def __init__(self, page: Page, origin: str):
        self.page = page
        self.origin = origin
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self.complaints.append(said.text) if "Content Security" in said.text else None)
        page.on("request", lambda request: self._note(request.url))

    def open(self, path: str) -> Page:
        """The page behind the `#`, from scratch."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.origin}/#/{path}")
        return self.page

    def refuse(self, path: str, status: int) -> None:
        """From now on paths that match are answered so, as Envoy would."""

        def answer(route: Route) -> None:
            route.fulfill(status=status, content_type="application/json", body='{"code": 503, "message": "x"}')

        self.page.route(path, answer)

    def _note(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("blob", "data", "about") and f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.elsewhere.append(url)
