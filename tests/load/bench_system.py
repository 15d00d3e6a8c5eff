"""The whole system: /verify through Envoy, what its parts add, overload, memory, starts."""

import os
import re
import socket
import statistics
import threading
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from deploy.local.client import Client
from services.embedder.recognition import catalogue
from services.gateway.pipeline.parallel import submit
from services.gateway.stages.channels import open_channel
from services.gateway.stages.detector import DetectorClient
from services.gateway.stages.embedder import EmbedderClient
from services.gateway.stages.liveness import LivenessClient
from services.gateway.stages.types import Measure
from tests.e2e.envoy import Envoy
from tests.e2e.services import NAMES, Services
from tests.e2e.system import RECOGNISER, System
from tests.load.figures import Figure, at_least, at_most, interleaved, wall_ms
from tests.load.original import Original
from tests.load.replay import Replay

PERSON = "RECO_ID_000001"
FORM = "application/x-www-form-urlencoded"
#: Requests in flight at which the system is at its peak, and how many times that rate is offered to overload it.
FULL, OVERLOAD = 12, 5
#: Turns of overload, the seconds of each, and those of load at the peak between them.
TURNS, OVERLOAD_SECONDS, PEAK_SECONDS = 4, 15, 8


@dataclass(frozen=True)
class Enrolled:
    """A system in which somebody is enrolled with five photos; uploads to verify her with."""

    system: System
    large: Path
    large_upload: str
    small_upload: str

    def faces(self) -> list[str]:
        """The enrolled faces' files, augmented ones left out."""
        return sorted(str(path) for path in self.system.images.glob("*/faces/*.png"))


def enroll(system: System, photos: Sequence[Path], small: Path, large: Path) -> Enrolled:
    """Enrolls somebody; verifies once, so that all is warm."""
    uploaded = upload(system, photos)
    answer = system.client.upload_db(uploaded, "Bench Mark")
    assert answer["result_code"] == 800, answer
    enrolled = Enrolled(system, large, upload(system, [large]), upload(system, [small]))
    for one in (enrolled.large_upload, enrolled.small_upload):
        verdict = system.client.verify(one)
        assert verdict["recognition_code"] == 200, verdict
    return enrolled


def upload(system: System, photos: Sequence[Path]) -> str:
    """The upload's id."""
    answer = system.client.upload(PERSON, {path.name: path.read_bytes() for path in photos})
    assert answer["upload_code"] == 119, answer
    return str(answer["upload_results"]["upload_id"])


def verifying(enrolled: Enrolled, original: Original | None) -> Iterator[Figure]:
    """One large photo against five enrolled ones: through Envoy, by the stages alone, and the original's way."""
    system, image = enrolled.system, enrolled.large.read_bytes()
    before = embedded(system)
    ms = interleaved({"rest": lambda: wall_ms(system.client.verify, enrolled.large_upload)}, 20)
    yield at_most("/verify through Envoy, 12 MP photo, five enrolled, liveness", 250, ms["rest"], " ms")
    calls = embedded(system) - before
    value = f"{calls:.0f} faces for 21 verifications"
    yield Figure("… faces embedded: the probe, enrolled ones never again", "1 each", value, calls == 21)
    yield added(enrolled, image)
    if original:
        theirs = original.ask("verify", photo=str(enrolled.large), gallery=enrolled.faces())["ms"]
        note = f" ({theirs / 1000:.1f} s: mtcnn at full size, then deepface pair by pair)"
        yield at_least("… against the way the original works", 30, theirs / ms["rest"], "×", note)


def embedded(system: System) -> float:
    """Faces that have gone through the recogniser since it started, in all views together."""
    found = re.search(
        rf'^reco_batch_size_sum\{{queue="{RECOGNISER}"\}} (\S+)', system.metrics("embedder"), re.MULTILINE
    )
    assert found
    return float(found[1]) / len(catalogue.find(RECOGNISER).views)


def added(enrolled: Enrolled, image: bytes) -> Figure:
    """What gateway and Envoy cost: with stages that answer at once, against calling those directly."""
    real = {name: enrolled.system.address(name) for name in NAMES if name != "gateway"}
    folder = enrolled.system.folder
    with (
        Replay(real) as replay,
        Services(folder / ".env", ("gateway",), replay.address) as services,
        Envoy(folder, [services.ports["gateway"]]) as envoy,
        ThreadPoolExecutor(4) as pool,
    ):
        client, stages = Client(f"http://localhost:{envoy.port}"), StagesOnly(replay.address, pool)
        contenders = {
            "rest": lambda: wall_ms(client.verify, enrolled.large_upload),
            "stages": lambda: wall_ms(stages.verify, image),
        }
        ms = interleaved(contenders, 40)
    note = f" ({ms['rest']:.1f} and {ms['stages']:.1f} ms with stages that answer at once)"
    return at_most("… what gateway and Envoy add to the stages' work", 10, ms["rest"] - ms["stages"], " ms", note)


class StagesOnly:
    """A verification by calling the stages, without gateway, Envoy, records and upload folders."""

    def __init__(self, address: str, pool: ThreadPoolExecutor):
        """`address`: of all three."""
        self._pool = pool
        channel = open_channel(address)
        self._detector, self._liveness = DetectorClient(channel), LivenessClient(channel)
        self._embedder = EmbedderClient(channel)

    def verify(self, image: bytes) -> None:
        """Raises AssertionError where the person is not verified."""
        detected = self._detector.detect(image, (224, 224), self._liveness.views)
        judging = submit(self._pool, self._liveness.check, detected)
        crops = [face.crop for face in detected.faces]
        assert self._embedder.verify(PERSON, Measure((RECOGNISER,), "cosine"), (1, 1), crops).verified
        judging.result()


@dataclass(frozen=True)
class Answered:
    """A request: when it was sent and answered (perf_counter), and its HTTP status; 0 for no answer."""

    sent: float
    done: float
    status: int


class Browser:
    """Posts one body to /verify; a connection a thread. It shares the system's processors, so it does but what it must."""

    def __init__(self, port: int, upload_id: str):
        flags = {"skip_verify": "false", "skip_db_search": "false", "skip_liveness": "false"}
        body = urllib.parse.urlencode({"upload_id": upload_id, **flags})
        head = ("POST /verify HTTP/1.1", "Host: localhost", f"Content-Type: {FORM}", f"Content-Length: {len(body)}")
        self._request = "\r\n".join([*head, "", body]).encode()
        self._port = port
        self._local = threading.local()

    def ask(self) -> Answered:
        """Sends it once."""
        sent = time.perf_counter()
        try:
            if not hasattr(self._local, "connection"):
                self._local.connection = socket.create_connection(("127.0.0.1", self._port), 60)
            self._local.connection.sendall(self._request)
            head = read_answer(self._local.connection)
        except OSError:
            head = b"HTTP/1.1 0\r\nconnection: close"
        if b"connection: close" in head and hasattr(self._local, "connection"):  # it was refused unread, say
            self._local.connection.close()
            del self._local.connection
        return Answered(sent, time.perf_counter(), int(head.split()[1]))


def read_answer(connection: socket.socket) -> bytes:
    """Reads an HTTP answer to its end; gives its head."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += receive(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: *(\d+)", head)
    missing = int(length[1]) - len(body) if length else 0
    while missing > 0:
        missing -= len(receive(connection))
    return head


def receive(connection: socket.socket) -> bytes:
    """What there is; raises ConnectionError at the end."""
    data = connection.recv(1 << 16)
    if not data:
        raise ConnectionError("the connection was closed within an answer")
    return data


def overload(enrolled: Enrolled) -> Iterator[Figure]:
    """Five times the capacity is offered, a minute in all; load at the peak and overload take turns."""
    browser = Browser(enrolled.system.port, enrolled.small_upload)
    alone = statistics.median(one.done - one.sent for one in (browser.ask() for _ in range(9)))
    peaks, rates, recoveries = [peak_rate(browser)], [], []
    answers: list[Answered] = []
    for _ in range(TURNS):
        offered = offer(browser, OVERLOAD * peaks[-1])
        recoveries.append(recovery(browser, 2 * alone, since=offered[-1].sent))
        served = [one for one in offered if one.status == 200]
        rates.append(len(served) / (max(one.done for one in served) - offered[0].sent))
        answers += offered
        peaks.append(peak_rate(browser))
    peak, rate = statistics.median(peaks), statistics.median(rates)
    accepted = sorted(one.done - one.sent for one in answers if one.status == 200)
    refused = sorted(one.done - one.sent for one in answers if one.status == 503)
    odd = len(answers) - len(accepted) - len(refused)
    note = f" ({rate:.1f} of {peak:.1f} a second; {len(refused)} refused with 503, {odd} answered otherwise)"
    yield at_least("Overload, 5× the capacity for a minute: verifications completed", 90, 100 * rate / peak, " %", note)
    value = f"{accepted[int(0.99 * len(accepted))]:.1f} s"
    value += f"; refused in {1000 * refused[len(refused) // 2]:.0f} ms (median)" if refused else ""
    yield Figure("… p99 of those accepted", "bounded", value)
    yield at_most("… back to twice the time of an idle system after", 5, statistics.median(recoveries), " s")


def peak_rate(browser: Browser) -> float:
    """Verifications a second with FULL requests in flight."""
    stop = threading.Event()

    def client() -> int:
        done = 0
        while not stop.is_set():
            done += browser.ask().status == 200
        return done

    with ThreadPoolExecutor(FULL) as pool:
        started = time.perf_counter()
        clients = [pool.submit(client) for _ in range(FULL)]
        time.sleep(PEAK_SECONDS)
        stop.set()
        done = sum(one.result() for one in clients)
    return done / (time.perf_counter() - started)


def offer(browser: Browser, rate: float) -> list[Answered]:
    """Sends that many requests a second for a turn, whatever is answered; all answers, in the order of sending."""
    with ThreadPoolExecutor(128) as pool:
        started = time.perf_counter()
        sent = []
        for number in range(int(rate * OVERLOAD_SECONDS)):
            time.sleep(max(0.0, started + number / rate - time.perf_counter()))
            sent.append(pool.submit(browser.ask))
        return [one.result() for one in sent]


def recovery(browser: Browser, limit: float, since: float) -> float:
    """Seconds from the last request of the overload (at most 60) until one is answered within the limit again; what had
    been accepted is finished first."""
    while True:
        answer = browser.ask()
        if (answer.status == 200 and answer.done - answer.sent <= limit) or answer.done - since > 60:
            return answer.done - since


def starting(env_file: Path) -> Iterator[Figure]:
    """Each service alone: until it says SERVING, and what it takes of memory then."""
    seconds, memory = {}, {}
    for name in NAMES:
        started = time.perf_counter()
        with Services(env_file, (name,)) as services:
            seconds[name] = time.perf_counter() - started
            memory[name] = resident_mb(services.pid(name))
    note = ", ".join(f"{name} {size:.0f}" for name, size in memory.items())
    yield at_most("Memory of an idle service, the largest", 300, max(memory.values()), " MB", f" ({note})")
    note = ", ".join(f"{name} {taken:.1f}" for name, taken in seconds.items())
    yield at_most("Start to SERVING from cached models, the slowest", 2, max(seconds.values()), " s", f" ({note})")


def resident_mb(pid: int) -> float:
    """MB of memory that a process has to itself now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
