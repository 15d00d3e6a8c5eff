"""Load tests: each gRPC method by ghz, each REST endpoint by wrk, on a system of their own with real photos.

usage: make load [LOAD_ARGS="--only embedder --gallery 5000"]

Starts the system on ports and folders of its own, fills its gallery, and prints a table, which a run of everything also
writes into docs/performance.md. tests/load/ghz holds a
configuration a method, on the descriptor set that Envoy uses. Each runs for seconds, or for a number of requests where
they cannot be repeated; a minute or two in all, and on this machine only.
`var/bin/ghz --config tests/load/ghz/detector.DetectFaces.json` repeats one on `make run`.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.json_format import MessageToDict

from tests.e2e.system import System
from tests.load import messages, report, tools
from tests.machine import ROOT

HERE = Path(__file__).resolve().parent
DATA = ROOT / "var" / "load"
HEAD = "| what | requests | requests/s | p50 ms | p95 ms | p99 ms | errors |\n|---|---|---|---|---|---|---|"
BOUNDARY = "reco-load-test"
REST_SECONDS = 4
CONNECTIONS = 4
#: People who are enrolled while that is measured, by REST and by gRPC (`total` of gateway.EnrollPerson.json).
ENROLMENTS = 40


@dataclass(frozen=True)
class Result:
    """What a load generator measured; times in milliseconds.

    Attributes:
        errors: requests that failed or were refused, of `count`.
    """

    name: str
    count: int
    rate: float
    p50: float
    p95: float
    p99: float
    errors: int

    def row(self) -> str:
        """A row of the table."""
        numbers = " | ".join(f"{value:.1f}" for value in (self.rate, self.p50, self.p95, self.p99))
        return f"| {self.name} | {self.count} | {numbers} | {self.errors} |"


@dataclass(frozen=True)
class Bench:
    """The running system, and what it is loaded with.

    Attributes:
        probes: uploads of people who are enrolled.
        skip_liveness: where its model is not to be had.
    """

    system: System
    stages: messages.Stages
    faces: list[messages.Face]
    probes: list[str]
    skip_liveness: bool


@dataclass(frozen=True)
class Endpoint:
    """A REST endpoint and what it is sent, in turns.

    Attributes:
        code: of success.
        once: whether a body is good once only.
    """

    path: str
    bodies: list[bytes]
    code: int
    content_type: str = "application/x-www-form-urlencoded"
    once: bool = False


def main() -> int:
    """Prints the table, and writes it; returns 1 where a request failed or a load generator is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="what has this in its name: embedder, VerifyFaces, REST")
    parser.add_argument("--gallery", type=int, default=1000, help="people enrolled beforehand")
    options = parser.parse_args()
    mirror = weights()
    with (
        tempfile.TemporaryDirectory() as folder,
        System(Path(folder), mirror=mirror, environment=messages.UNLIMITED, SCORE_TOL="0") as system,
    ):
        stages = messages.Stages(system.address)
        faces = stages.faces()
        stages.fill(options.gallery, faces[0].template)
        bench = Bench(system, stages, faces, stages.probes(faces, mirror is None), mirror is None)
        title = f"{machine()}; {options.gallery + len(faces)} people enrolled; {len(faces)} photos in turns"
        print(f"{title}\n\n{HEAD}")
        results, problems = measure(bench, options.only.lower())
    if problems:
        print("\n" + "\n".join(problems))
    elif not options.only:
        rows = "\n".join(result.row() for result in results)
        page = report.put("load", f"{title}; {datetime.date.today()}\n\n{HEAD}\n{rows}")
        print(f"\nwritten to {page}")
    return 1 if problems or any(result.errors for result in results) else 0


def weights() -> Path | None:
    """Where the liveness model's files are."""
    folders = (messages.data_folder() / "weights", ROOT / "var" / "models")
    return next((folder for folder in folders if any(folder.rglob("*MiniFASNet*.pth"))), None)


def machine() -> str:
    """The hardware, in a few words."""
    with Path("/proc/cpuinfo").open() as lines:
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{model or platform.machine()}, {os.cpu_count()} cores"


def measure(bench: Bench, only: str) -> tuple[list[Result], list[str]]:
    """Prints rows as they come; the results, and what could not be measured and why."""
    measured, missing = [], []
    for results in (rest(bench, only), rpcs(bench, only)):
        try:
            for result in results:
                print(result.row(), flush=True)
                measured.append(result)
        except tools.ToolMissing as err:
            missing.append(str(err))
    if bench.skip_liveness:
        missing.append("liveness was left out, because its model is not here: make models")
    return measured, missing


def rpcs(bench: Bench, only: str) -> Iterator[Result]:
    """Each method by its configuration; raises ToolMissing."""
    wanted = {path.stem: path for path in (HERE / "ghz").glob("*.json") if only in path.stem.lower()}
    if not wanted:
        return
    program = tools.ghz()
    uploads = bench.stages.upload(bench.faces, messages.person_ids(ENROLMENTS))
    requests = {
        **messages.stateless(bench.faces),
        **messages.people(bench.faces, uploads, bench.probes, bench.skip_liveness),
        **messages.directory(bench.faces, bench.stages.photos(bench.probes)),
        **messages.gallery(bench.faces),
    }
    for name in [name for name in requests if name in wanted]:
        service = name.partition(".")[0]
        if service != "liveness" or not bench.skip_liveness:
            DATA.mkdir(parents=True, exist_ok=True)
            (DATA / f"{name}.json").write_text(json.dumps([MessageToDict(one) for one in requests[name]]))
            yield by_ghz(program, wanted[name], bench.system.address(service))


def by_ghz(program: Path, config: Path, address: str) -> Result:
    """Runs one configuration."""
    command: list[str | Path] = [program, "--config", config, "--format", "json", address]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    report = json.loads(ended.stdout)
    times = {one["percentage"]: one["latency"] / 1e6 for one in report.get("latencyDistribution") or []}
    good = report.get("statusCodeDistribution", {}).get("OK", 0)
    p50, p95, p99 = (times.get(share, float("nan")) for share in (50, 95, 99))
    return Result(config.stem, report["count"], report["rps"], p50, p95, p99, report["count"] - good)


def rest(bench: Bench, only: str) -> Iterator[Result]:
    """The three endpoints; raises ToolMissing."""
    wanted = [make for make in (uploads, enrollments, verifications) if only in f"rest {make.__name__}"]
    if not wanted:
        return
    program = tools.wrk()
    for make in wanted:
        yield by_wrk(program, f"http://127.0.0.1:{bench.system.port}", make(bench))


def uploads(bench: Bench) -> Endpoint:
    """/upload_imgs with a photo."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n'.encode()
    bodies = [head + face.photo + f"\r\n--{BOUNDARY}--\r\n".encode() for face in bench.faces]
    path = f"/upload_imgs?id={messages.person_ids(1)[0]}"
    return Endpoint(path, bodies, 119, f"multipart/form-data; boundary={BOUNDARY}")


def enrollments(bench: Bench) -> Endpoint:
    """/upload_db of people who are new."""
    uploaded = bench.stages.upload(bench.faces, messages.person_ids(ENROLMENTS))
    flags = dict.fromkeys(("delete_pickles", "rebuild_db", "in_place"), "false")
    return Endpoint("/upload_db", [form(upload_id=one, name="Load Test", **flags) for one in uploaded], 800, once=True)


def verifications(bench: Bench) -> Endpoint:
    """/verify of people who are enrolled."""
    flags = {"skip_verify": "false", "skip_db_search": "false", "skip_liveness": str(bench.skip_liveness).lower()}
    return Endpoint("/verify", [form(upload_id=one, **flags) for one in bench.probes], 200)


def form(**fields: str) -> bytes:
    return urllib.parse.urlencode(fields).encode()


def by_wrk(program: Path, base: str, endpoint: Endpoint) -> Result:
    """Loads one endpoint over several connections."""
    with tempfile.TemporaryDirectory() as folder:
        for number, body in enumerate(endpoint.bodies, start=1):
            (Path(folder) / str(number)).write_bytes(body)
        command: list[str | Path] = [program, "-t", "1", "-c", str(CONNECTIONS), "-d", f"{REST_SECONDS}s"]
        command += [
            "--timeout",
            "20s",
            "-s",
            HERE / "rest.lua",
            base + endpoint.path,
            "--",
            folder,
            endpoint.content_type,
        ]
        command += [str(endpoint.code), "once" if endpoint.once else "again"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    seen = json.loads(ended.stdout.strip().splitlines()[-1])
    name, rate = endpoint.path.partition("?")[0], seen["count"] / seen["seconds"]
    return Result(f"REST {name}", seen["count"], rate, seen["p50"], seen["p95"], seen["p99"], seen["errors"])


if __name__ == "__main__":
    sys.exit(main())
