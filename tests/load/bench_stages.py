"""Each stage alone, in this process and on one thread, against what users have today."""

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from services.common.faces import FaceCrop
from services.common.onnx import Session, Tensor, open_session
from services.detector.model import MODEL, Detector, open_finder
from services.detector.mtcnn import DetectOptions, Mode, Mtcnn
from services.embedder.recognition import catalogue, recogniser
from services.embedder.recognition.batcher import Batcher, Limits
from services.images.decode import decode
from tests.load.figures import Figure, at_least, at_most, cpu_ms, interleaved
from tests.load.original import Original
from tests.machine import ROOT
from tests.models import finished
from tests.packages import DLIB_FILE, package_file

#: Multiply-adds of dlib's network, times two, in GFLOP a face (models.md).
DLIB_GFLOP = 0.542
#: A core that does more GFLOP/s has AVX-512 units of full width, which dlib-bin (AVX) does not use.
WIDE_GFLOP = 200
CACHE = ROOT / "var" / "cache"
CLIENTS = 32
#: Photos that the detector could look at together.
PHOTOS = 4


@dataclass(frozen=True)
class Stages:
    """The stages as their services use them, one thread each, and photos to work on."""

    detector: Detector
    dlib: recogniser.OnnxRecogniser
    dlib_network: Session
    crop: FaceCrop
    small: Path
    large: Path


def open_stages(small: Path, large: Path) -> Stages:
    """`small`: a photo of some hundred pixels; `large`: of 12 million."""
    detector = Detector(open_finder(finished(MODEL)))
    model = finished("Dlib")
    dlib = recogniser.load(catalogue.find("Dlib"), model, CACHE, threads=1)
    crop = detector.prepare_faces(large.read_bytes(), 224, 224, 0, DetectOptions()).faces[0].crop
    return Stages(detector, dlib, open_session(model.path("recogniser")), crop, small, large)


def embedding(stages: Stages) -> Iterator[Figure]:
    """Dlib's network against dlib itself and against the core's limit."""
    import dlib

    theirs = dlib.face_recognition_model_v1(str(package_file("face_recognition_models", DLIB_FILE)))
    faces = [np.ascontiguousarray(stages.crop.pixels[top : top + 150, 37:187]) for top in range(0, 74, 5)][:8]
    chips = [np.ascontiguousarray(face[..., ::-1]) for face in faces]
    run = stages.dlib.embed_aligned
    contenders = {
        "dlib": lambda: cpu_ms(theirs.compute_face_descriptor, chips[0]),
        "one": lambda: cpu_ms(run, faces[:1]),
        "batch": lambda: cpu_ms(run, faces) / len(faces),
    }
    ms = interleaved(contenders, 15, alone=True)
    note, peak = f" ({ms['dlib']:.0f} and {ms['one']:.1f} ms)", fma_peak()
    goal = 16 if peak and peak > WIDE_GFLOP else 12
    yield at_least("Embedding (Dlib), one face, against dlib-bin", goal, ms["dlib"] / ms["one"], "×", note)
    rate = DLIB_GFLOP / ms["batch"] * 1000
    what = "Embedding (Dlib), batches of 8, of the core's multiply-add peak"
    if peak:
        note = f" ({ms['batch']:.1f} ms a face, {rate:.0f} of {peak:.0f} GFLOP/s)"
        yield at_least(what, 80, 100 * rate / peak, " %", note)
    else:
        yield Figure(what, "≥ 80 %", "no C compiler here to measure the peak with")
    reference = np.array([theirs.compute_face_descriptor(chip) for chip in chips])
    yield at_most("Embedding (Dlib), parity: 1 - cosine to dlib's template", 1e-5, distance(run(faces), reference), "")


def distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest cosine distance of rows."""
    ours, theirs = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (ours.astype(np.float64), theirs))
    return float(max(0.0, (1 - (ours * theirs).sum(axis=1)).max()))


def fma_peak() -> float | None:
    """GFLOP/s of one core in a loop of nothing but multiply-adds; None without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    program = ROOT / "var" / "bench" / "fma"
    program.parent.mkdir(parents=True, exist_ok=True)
    source = ROOT / "tests" / "load" / "fma.c"
    subprocess.run([compiler, "-O2", "-march=native", "-ffp-contract=fast", source, "-o", program], check=True)
    return float(subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()[0])


def batching(stages: Stages) -> Iterator[Figure]:
    """Many clients' faces together, against each alone."""
    faces = [np.ascontiguousarray(stages.crop.pixels[:150, 37:187])] * 2  # a face and its mirror image

    def embed(some: Sequence[np.ndarray]) -> list[np.ndarray]:
        return list(stages.dlib_network.run(None, {"pixels": np.stack(some).astype(np.float32)})[0])

    yield from _batched("embedder", embed, faces, recogniser.BATCH)


def _batched(
    what: str, work: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]], faces: Sequence[np.ndarray], batch: int
) -> Iterator[Figure]:
    """`faces`: what a client asks for at a time."""
    batchers = {size: Batcher(work, Limits(2, size, 10_000)) for size in (1, batch)}
    times: dict[int, list[float]] = {size: [] for size in batchers}
    contenders = {str(size): partial_rate(batcher.run, faces, times[size]) for size, batcher in batchers.items()}
    rate = interleaved(contenders, 3)
    note = f" ({rate[str(batch)]:.0f} and {rate['1']:.0f} faces/s)"
    gain = rate[str(batch)] / rate["1"]
    yield at_least(f"Batching across {CLIENTS} clients, {what}, throughput", 1.3, gain, "×", note)
    last = np.percentile(times[batch], 99) * 1000
    yield Figure("… p99 of a face there", "bounded", f"{last:.0f} ms")


def partial_rate(
    work: Callable[[Sequence[np.ndarray]], object],
    faces: Sequence[np.ndarray],
    times: list[float],
    seconds: float = 3.0,
) -> Callable[[], float]:
    """A measurement: faces (with their mirror images) a second from CLIENTS threads; notes each one's seconds."""

    def client(stop: threading.Event) -> int:
        done = 0
        while not stop.is_set():
            started = time.perf_counter()
            work(faces)
            times.append(time.perf_counter() - started)
            done += 1
        return done

    def measure() -> float:
        stop = threading.Event()
        with ThreadPoolExecutor(CLIENTS) as pool:
            started = time.perf_counter()
            clients = [pool.submit(client, stop) for _ in range(CLIENTS)]
            time.sleep(seconds)
            stop.set()
        return sum(one.result() for one in clients) / (time.perf_counter() - started)

    return measure


def detection(stages: Stages, original: Original) -> Iterator[Figure]:
    """The face finder against the mtcnn package on TensorFlow, and on a phone's photo."""
    detector, data = stages.detector, stages.small.read_bytes()
    fast, faithful = DetectOptions(), DetectOptions(Mode.FAITHFUL, min_face_px=20, max_side_px=640, min_confidence=0.8)
    photo = decode(data)
    finder = open_finder(finished(MODEL))
    contenders = {
        "package": lambda: original.ask("detect", photo=str(stages.small), max_side=640)["ms"],
        "fast": lambda: cpu_ms(finder.detect, photo, fast),
        "faithful": lambda: cpu_ms(finder.detect, photo, faithful),
        "large": lambda: cpu_ms(detector.detect_faces, stages.large.read_bytes(), fast),
    }
    ms = interleaved(contenders, 9, alone=True)
    note = f" ({ms['package']:.0f} and {ms['fast']:.1f} ms)"
    yield at_least("Detection at 640, against the mtcnn package", 12, ms["package"] / ms["fast"], "×", note)
    note = f" ({ms['faithful']:.0f} ms)"
    yield at_least("Detection at 640, faithful mode", 4, ms["package"] / ms["faithful"], "×", note)
    yield at_most("… its boxes' parity", 0.01, worst_box(stages, original), " px")
    yield at_most("12 MP photo: decoding and finding its faces, one core", 60, ms["large"], " ms")


def detector_batching(stages: Stages) -> Iterator[Figure]:
    """The face finder's networks over what several photos give them, against over one photo's."""
    runs: list[Run] = []
    model = finished(MODEL)
    pnet, rnet, onet = (Recorder(open_session(model.path(name)), runs) for name in ("pnet", "rnet", "onet"))
    Mtcnn(pnet, rnet, onet).detect(decode(stages.small.read_bytes()), DetectOptions())
    contenders = {
        "alone": lambda: sum(cpu_ms(run.repeat, 1) for run in runs),
        "together": lambda: sum(cpu_ms(run.repeat, PHOTOS) for run in runs) / PHOTOS,
    }
    ms = interleaved(contenders, 15, alone=True)
    note = f" ({ms['alone']:.1f} and {ms['together']:.1f} ms a photo: not batched)"
    yield at_least(f"Batching, detector's networks, {PHOTOS} photos", 1.3, ms["alone"] / ms["together"], "×", note)


@dataclass(frozen=True)
class Run:
    """A network, and what it was given."""

    network: Session
    outputs: list[str] | None
    feeds: dict[str, np.ndarray]

    def repeat(self, times: int) -> None:
        """Runs it over so many times as much at once."""
        self.network.run(self.outputs, {name: np.concatenate([value] * times) for name, value in self.feeds.items()})


@dataclass(frozen=True)
class Recorder:
    """A network that notes its runs."""

    network: Session
    runs: list[Run]

    def get_inputs(self) -> list[Tensor]:
        return self.network.get_inputs()

    def get_outputs(self) -> list[Tensor]:
        return self.network.get_outputs()

    def run(self, outputs: list[str] | None, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.runs.append(Run(self.network, outputs, feeds))
        return self.network.run(outputs, feeds)


def worst_box(stages: Stages, original: Original) -> float:
    """The largest difference of a box's edge between the faithful mode and the package, on the photo shrunk to 640."""
    picture = decode(stages.small.read_bytes())
    ratio = min(1.0, 640 / max(picture.shape[:2]))
    size = round(picture.shape[1] * ratio), round(picture.shape[0] * ratio)
    shrunk = ROOT / "var" / "bench" / "shrunk.png"
    cv2.imwrite(str(shrunk), cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    faces = stages.detector.detect_faces(shrunk.read_bytes(), DetectOptions.reference()).faces
    ours = [(f.box.x, f.box.y, f.box.x + f.box.width, f.box.y + f.box.height) for f in faces]
    theirs = original.ask("detect", photo=str(shrunk), max_side=0)["boxes"]
    if len(ours) != len(theirs):
        return float("inf")
    return float(np.abs(np.sort(ours, axis=0) - np.sort(theirs, axis=0)).max())
