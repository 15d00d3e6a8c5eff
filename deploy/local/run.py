"""Runs the whole system on this machine: four services and Envoy, each started again when it ends.

`python -m deploy.local.run` is what `make run` calls; the end-to-end tests run it too, on ports and folders of their own.
"""

import argparse
import os
import sys
import threading
import time
import urllib.request
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.envoy.render import render
from deploy.local.ports import is_taken
from deploy.local.supervisor import Part, Supervisor
from services.common.database import Database, reading
from services.common.env import EnvFile, EnvInvalid
from services.common.errors import RecoError
from services.common.mutual_tls import Identity, open_channel_to
from services.common.private import keep_files_private
from services.gateway.access.keyring import KeyTables
from services.gateway.access.open import ADVICE, ALLOW_ANONYMOUS, is_loopback, lacks_keys

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("detector", "liveness", "embedder", "gateway")

#: By their ports: the first has the base port, and for its metrics the one after Envoy's admin interface, and so on.
PORT_ORDER = ("gateway", "detector", "liveness", "embedder")

#: The highest port that may be asked for: others follow it.
MAX_PORT = 65_000

#: Seconds that the system may take to be ready.
START_TIMEOUT = 600

#: What each service's process is told, unless the environment says otherwise (deploy/docker/Dockerfile says the same).
#: - glibc's allocator would give a photo's memory back to the system and take it again page by page, for every photo: a
#:   tenth of the time of a verification.
#: - One thread a worker, one worker a processor: libraries that split a call up only get in the others' way.
#: - gRPC reads a connection in the thread that waits for its calls, rather than in threads of its "event engine", which
#:   cost a call two more switches between threads: a quarter of what an empty call takes. A release that does not know
#:   the name any more says so in its log and goes on.
PROCESS = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "OMP_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
    "GRPC_EXPERIMENTS": "-event_engine_listener",
    "GRPC_VERBOSITY": "ERROR",
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime would keep an identifier of the machine
}

READY = """
RECO is ready on {scheme}://localhost:{port} (Ctrl-C stops it). Try:

  curl -F photo=@me.jpg '{scheme}://localhost:{port}/upload_imgs?id=RECO_ID_000023'
  make demo{demo}        # enrolls and verifies a person, and tries a stranger
"""


def main() -> int:
    """Starts everything and keeps it running; returns the exit status: 0 when it was told to stop."""
    keep_files_private()
    options = _options()
    ports = {name: options.base_port + number for number, name in enumerate(PORT_ORDER)}
    metrics_ports = {name: options.admin_port + 1 + number for number, name in enumerate(PORT_ORDER)}
    wanted = (options.port, options.admin_port, *ports.values(), *metrics_ports.values())
    if taken := [port for port in wanted if is_taken(port)]:
        which = f"Port {taken[0]} is" if len(taken) == 1 else f"Ports {', '.join(map(str, taken))} are"
        print(
            f"{which} taken. Stop what listens there, or choose others: PORT={options.port} is one port, "
            f"BASE_PORT={options.base_port} the first of four and ADMIN_PORT={options.admin_port} of five.",
            file=sys.stderr,
        )
        return 1
    try:
        EnvFile(options.env_file).read()
    except EnvInvalid as err:
        print(
            f"{options.env_file}: {err}\nStarting all the same: requests answer code 176 until it is mended.",
            file=sys.stderr,
        )
    Identity.of_environment()  # which says what is missing, once
    environment = _environment(options, ports, metrics_ports)
    if environment[ALLOW_ANONYMOUS].lower() != "true" and _lacks_keys(options):
        return 1
    try:
        config = _write_envoy_config(options, ports["gateway"])
    except ValueError as err:
        print(err, file=sys.stderr)
        return 1
    ready = threading.Event()
    threading.Thread(target=_say_when_ready, args=(options, ports, ready), daemon=True).start()
    return Supervisor(_parts(config), environment, ROOT, was_well=ready.is_set).run()


def _parts(envoy_config: Path) -> list[Part]:
    """The gateway ends first: its calls under way need the stages, and its clients Envoy."""
    services = [Part(name, (sys.executable, "-m", f"services.{name}"), first=name == "gateway") for name in SERVICES]
    options = ("--log-level", "warning", "--concurrency", "2", "--use-dynamic-base-id")
    return [*services, Part("envoy", (str(_envoy()), "-c", str(envoy_config), *options))]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=_port, default=8001, help="of the REST endpoints")
    parser.add_argument(
        "--admin-port",
        type=_port,
        default=9901,
        help="of Envoy's admin interface and, in the four after it, of the services' metrics; on this machine only",
    )
    parser.add_argument("--base-port", type=_port, default=15050, help="first of the four services' ports")
    parser.add_argument("--listen", default="127.0.0.1", help="address that the REST port listens on")
    parser.add_argument("--env-file", type=Path, default=ROOT / ".env")
    parser.add_argument("--state", type=Path, default=ROOT / "var", help="folder for weights and caches")
    return parser.parse_args()


def _port(text: str) -> int:
    """A port that leaves room for those that follow it."""
    if not text.isdecimal() or not 1 <= int(text) <= MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; take one from 1 to {MAX_PORT}")
    return int(text)


def _lacks_keys(options: argparse.Namespace) -> bool:
    """Whether the database that `.env` names has no key, which is said then; False where that cannot be told, for then
    nobody is let in."""
    file = EnvFile(options.env_file)
    try:
        lacking = lacks_keys(KeyTables(file, Database(file.root)).open())
    except EnvInvalid:
        return False
    if lacking:
        print(ADVICE.format(listen=options.listen, make_key="make key NAME=admin ROLE=admin"), file=sys.stderr)
    return lacking


def _environment(options: argparse.Namespace, ports: dict[str, int], metrics_ports: dict[str, int]) -> dict[str, str]:
    environment = dict(os.environ)
    for name, port in ports.items():
        environment[f"RECO_{name.upper()}_LISTEN"] = f"127.0.0.1:{port}"
        environment[f"RECO_{name.upper()}"] = f"127.0.0.1:{port}"
        environment[f"RECO_{name.upper()}_METRICS"] = f"127.0.0.1:{metrics_ports[name]}"
    # Set, but empty, is as if it were not set; the gateway would go by where it listens itself, which is here alone.
    environment[ALLOW_ANONYMOUS] = environment.get(ALLOW_ANONYMOUS) or str(is_loopback(options.listen)).lower()
    environment["RECO_ENV_FILE"] = str(options.env_file.absolute())
    environment.setdefault("RECO_CACHE", str(options.state.absolute() / "cache"))
    environment.setdefault("RECO_MODELS", str(options.state.absolute() / "models"))
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "gen")])
    environment["PYTHONUNBUFFERED"] = "1"
    for name, value in PROCESS.items():
        environment.setdefault(name, value)
    return environment


def _write_envoy_config(options: argparse.Namespace, gateway_port: int) -> Path:
    place = {
        "ADMIN_PORT": options.admin_port,
        "STATS_PORT": "",  # the admin interface itself gives Envoy's metrics
        "LISTEN_ADDRESS": options.listen,
        "LISTEN_PORT": options.port,
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_PORT": gateway_port,
        "DESCRIPTOR_SET": ROOT / "gen" / "reco.pb",
    }
    text = render(os.environ, place)
    path: Path = options.state.absolute() / f"envoy-{options.port}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def _envoy() -> Path:
    return Path(sys.executable).parent / "envoy"


def _say_when_ready(options: argparse.Namespace, ports: dict[str, int], ready: threading.Event) -> None:
    """Waits until every service says SERVING, Envoy has seen that the gateway does, and the database answers."""
    deadline = time.monotonic() + START_TIMEOUT
    waiting, database = dict(ports), _Database(options.env_file)
    while time.monotonic() < deadline:
        waiting = {name: port for name, port in waiting.items() if not _serves(name, port)}
        if not waiting and _envoy_sees_gateway(options.admin_port) and database.answers():
            ready.set()
            scheme = "https" if os.environ.get("RECO_TLS_CERT") else "http"
            demo = "" if options.port == 8001 else f" PORT={options.port}"
            print(READY.format(port=options.port, scheme=scheme, demo=demo), flush=True)
            return
        time.sleep(0.2)


class _Database:
    """The database that `.env` names."""

    def __init__(self, env_file: Path):
        self._file = EnvFile(env_file)
        self._database = Database(self._file.root)
        self._complaint = ""

    def answers(self) -> bool:
        """Whether it does; why not is said once. Also true where `.env` is at fault, which was said already."""
        try:
            with reading(self._database.engine(self._file.sql())):
                return True
        except EnvInvalid:
            return True
        except RecoError as err:
            if str(err) != self._complaint:
                print(f"Waiting for the database: {err}", file=sys.stderr, flush=True)
            self._complaint = str(err)
            return False


def _serves(name: str, port: int) -> bool:
    alone = [("grpc.use_local_subchannel_pool", 1)]
    with open_channel_to(name, f"127.0.0.1:{port}", Identity.of_environment(), alone) as channel:
        try:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1)
        except grpc.RpcError:
            return False
    return True


def _envoy_sees_gateway(admin_port: int) -> bool:
    url = f"http://127.0.0.1:{admin_port}/stats?filter=cluster.(gateway(.uploads)%3F|access).membership_healthy"
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            healthy = answer.read().split()[1::2]
    except OSError:
        return False
    return bool(healthy) and set(healthy) == {b"1"}


if __name__ == "__main__":
    sys.exit(main())
