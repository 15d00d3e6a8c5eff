"""Finished models: networks as ONNX files, made by the model workshop (deploy/models), and how a service comes by them.

A service opens finished networks and knows no other format. Where one is missing it runs the workshop as a child process,
so that neither what the workshop needs nor its memory stays with the service, which goes on with what it has.
"""

import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDone
from dataclasses import asdict, dataclass
from pathlib import Path

from services.common import call
from services.common.errors import ModelUnavailable

log = logging.getLogger("reco")

#: Of records and of what networks take and give. Raise it when either changes: all models are made anew then.
FORMAT = 1
#: Seconds for which a model that could not be made is not tried again, unless a folder that it may come from changes.
RETRY_AFTER = 30.0
#: Seconds of a request's time that are kept for the answer.
ANSWER_TIME = 1.0


@dataclass(frozen=True)
class FinishedNetwork:
    """An ONNX file.

    Attributes:
        file: its name, beside the record.
        sha256: of its content.
        weights_file: name of the weight file that it was made of.
        weights_sha256: of that file: tells the network's weights from others, whatever made an ONNX file of them.
        maker: revision of the code that made it; another one may make another network of the same weights.
    """

    file: str
    sha256: str
    weights_file: str
    weights_sha256: str
    maker: int


@dataclass(frozen=True)
class FinishedModel:
    """A model whose networks can be opened: `networks` by the name that the model has for each."""

    name: str
    folder: Path
    networks: Mapping[str, FinishedNetwork]

    def path(self, network: str) -> Path:
        """The ONNX file of a network."""
        return self.folder / self.networks[network].file


def record_path(folder: Path, name: str) -> Path:
    """Where the record of a model lies."""
    return folder / f"{name}.json"


def to_record(model: FinishedModel) -> str:
    """A model as it is kept on disk."""
    networks = {name: asdict(network) for name, network in model.networks.items()}
    return json.dumps({"format": FORMAT, "name": model.name, "networks": networks}, indent=2)


def find(folder: Path, name: str, weights: Path) -> FinishedModel | None:
    """A finished model in a folder.

    Args:
        weights: folder of weight files. Where it holds one that the model was made of, it must still be the same.

    Returns:
        None where there is none, or not of this FORMAT, of other weights, or damaged.
    """
    try:
        record = json.loads(record_path(folder, name).read_text())
        if record["format"] != FORMAT:
            return None
        networks = {key: FinishedNetwork(**facts) for key, facts in record["networks"].items()}
        whole = all(_is_whole(folder, weights, network) for network in networks.values())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return FinishedModel(name, folder, networks) if whole else None


def _is_whole(folder: Path, weights: Path, network: FinishedNetwork) -> bool:
    source = weights / network.weights_file
    if source.is_file() and sha256_of(source) != network.weights_sha256:
        return False
    return sha256_of(folder / network.file) == network.sha256


def sha256_of(path: Path) -> str:
    """64 hexadecimal digits; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Wanted:
    """A model that a service needs.

    Attributes:
        name: the workshop's for it.
        weights: the folder that weight files are kept in.
        url: where weight files come from, for models that are not tied to one place.
    """

    name: str
    weights: Path
    url: str = ""


@dataclass(frozen=True)
class Workshop:
    """Runs deploy/models as a child process.

    Attributes:
        into: the folder for finished models.
        mirror: RECO_MIRROR, asked for weight files before their makers: a folder, or an http(s) prefix.
    """

    into: Path
    mirror: str = ""

    def __call__(self, wanted: Wanted) -> None:
        """Makes a model.

        Raises:
            ModelUnavailable: it cannot be made; the message says which file, from where, and where to put it by hand.
        """
        options = {"--weights": wanted.weights, "--into": self.into, "--url": wanted.url, "--mirror": self.mirror}
        given = [f"{option}={value}" for option, value in options.items() if value]
        command = [sys.executable, "-m", "deploy.models", *given, "--", wanted.name]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        said = "it said nothing"
        with subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            for line in child.stderr or ():
                said = line.strip() or said
                log.info("%s", said)
        if child.returncode:
            raise ModelUnavailable(said.removeprefix(f"{wanted.name}: "))

    def sources(self, wanted: Wanted) -> tuple[object, ...]:
        """Changes when a file appears in a folder that weights may come from."""
        folders = [wanted.weights]
        if self.mirror and not self.mirror.startswith(("http://", "https://")):
            mirror = Path(self.mirror).expanduser()
            folders += [mirror, *(path for path in mirror.glob("*/") if path.is_dir())]
        return tuple((folder, folder.stat().st_mtime_ns if folder.is_dir() else 0) for folder in folders)


@dataclass(frozen=True)
class _Failure:
    at: float
    message: str
    sources: tuple[object, ...]


class Models:
    """Gives finished models, and has those made that are missing. Safe to use from several threads."""

    def __init__(self, folders: Sequence[Path], workshop: Workshop, retry_after: float = RETRY_AFTER):
        """`folders`: where finished models may lie, asked in this order; some may be read-only."""
        self._folders = folders
        self._workshop = workshop
        self._retry_after = retry_after
        self._lock = threading.Lock()
        self._making: dict[Wanted, Future[None]] = {}
        self._failures: dict[Wanted, _Failure] = {}

    def find(self, wanted: Wanted) -> FinishedModel | None:
        """The model, if it is finished; nothing is made."""
        found = (find(folder, wanted.name, wanted.weights) for folder in self._folders)
        return next((model for model in found if model), None)

    def get(self, wanted: Wanted, timeout: float | None = None) -> FinishedModel:
        """The model; one that is missing is made, which is waited for as long as the present request may last, or
        `timeout` seconds.

        Raises:
            ModelUnavailable: it cannot be made, or takes longer. Said again without trying for `retry_after` seconds,
                unless a file appears in the folder of weights or in the mirror.
        """
        if model := self.find(wanted):
            return model
        try:
            self._begin(wanted).result(max(0.0, call.seconds_left() - ANSWER_TIME) if timeout is None else timeout)
        except NotDone:
            raise ModelUnavailable(f"the model {wanted.name} is being made ready; try again in a while") from None
        if model := self.find(wanted):
            return model
        raise ModelUnavailable(f"the model {wanted.name} was made, and is not whole")

    def _begin(self, wanted: Wanted) -> "Future[None]":
        """The making of a model, begun now unless it is under way."""
        with self._lock:
            if wanted not in self._making:
                self._recall_failure(wanted)
                self._making[wanted] = Future()
                threading.Thread(target=self._make, args=(wanted,), name=f"make-{wanted.name}", daemon=True).start()
            return self._making[wanted]

    def _recall_failure(self, wanted: Wanted) -> None:
        failure = self._failures.get(wanted)
        if failure is None or time.monotonic() - failure.at > self._retry_after:
            return
        if failure.sources == self._workshop.sources(wanted):
            raise ModelUnavailable(failure.message)

    def _make(self, wanted: Wanted) -> None:
        error: ModelUnavailable | None = None
        try:
            if not self.find(wanted):  # another may have made it since the caller looked
                self._workshop(wanted)
        except (ModelUnavailable, OSError) as raised:
            error = ModelUnavailable(str(raised))
        with self._lock:
            making = self._making.pop(wanted)
            self._failures.pop(wanted, None)
            if error:
                self._failures[wanted] = _Failure(time.monotonic(), str(error), self._workshop.sources(wanted))
        if error:
            making.set_exception(error)
        else:
            making.set_result(None)


def open_models(cache: Path, weights: Path, mirror: str | None) -> Models:
    """The models of one service: finished ones lie in the cache folder or, where that is read-only, in `weights`."""
    folders = (cache / "models", weights / "finished")
    into = next((folder for folder in folders if _can_be_written(folder)), folders[0])
    return Models(folders, Workshop(into, mirror or ""))


def _can_be_written(folder: Path) -> bool:
    """Whether the folder, which is made if it is missing, lets us."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)
