"""What a request costs of the processors in all processes together, Envoy's too, against its arithmetic in one process."""

import base64
import json
import os
import secrets
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import insert, make_url, select, update

from services.common.database import open_engine, writing
from services.detector import quality
from services.detector.augmentation import augment
from services.detector.cropping import cut_face
from services.detector.model import MODEL, open_finder
from services.detector.search import QUICK, FaceSearch
from services.embedder.gallery.tables import people, revisions, templates
from services.embedder.recognition import catalogue, recogniser
from services.images.decode import decode, decode_for, encode_png
from services.liveness.fusion import FacePluginLiveness, FusedModels
from services.liveness.minifasnet import MiniFasNet
from services.liveness.model import FACEPLUGIN, MINIFASNET
from tests.e2e.system import RECOGNISER, System
from tests.load.bench_stages import CACHE
from tests.load.figures import Figure, at_most, cpu_ms
from tests.models import finished

PARTS = ("gateway", "detector", "liveness", "embedder", "envoy")
#: Requests of a turn, and turns: the system's and the arithmetic's follow each other.
REQUESTS, TURNS = 30, 5
#: Changed versions of a face that is enrolled, and the sides of a crop: those of .env.example.
AUGMENTATIONS, SIDE = 4, 224
#: People who are searched, and photos of each.
CROWD, PHOTOS = 10_000, 5

Costs = dict[str, float]
Request = Callable[[], Any]


class Arithmetic:
    """What the stages work out, called in this process one after the other."""

    def __init__(self, mirror: Path):
        self._search = FaceSearch(open_finder(finished(MODEL)))
        spec, model = catalogue.find(RECOGNISER), finished(RECOGNISER, mirror)
        self._recogniser = recogniser.load(spec, model, CACHE, threads=1)
        self._liveness = FusedModels(
            [MiniFasNet.load(finished(MINIFASNET, mirror)), FacePluginLiveness.load(finished(FACEPLUGIN, mirror))]
        )

    def verify(self, data: bytes) -> None:
        """Decoding, finding, judging and embedding a face."""
        photo = decode_for(data, QUICK.search_side_px)
        face = self._search.find(photo, lambda: photo)[0]
        crop = cut_face(photo.pixels, face, SIDE, SIDE)
        self._recogniser.embed([crop])
        self._liveness.check(photo.pixels, [face.box])

    def score(self, data: bytes) -> None:
        """Decoding a photo and telling how good it is."""
        quality.score_image(decode(data))

    def enroll(self, data: bytes) -> None:
        """Decoding, finding, changing and embedding a face, and the files of it and its changed versions."""
        photo = decode_for(data, QUICK.search_side_px)
        crop = cut_face(photo.pixels, self._search.find(photo, lambda: photo)[0], SIDE, SIDE)
        crops = [crop, *augment(crop, AUGMENTATIONS)]
        for one in crops:
            encode_png(one.pixels)
        self._recogniser.embed(crops)


def figures(system: System, photo: Path, upload_id: str, mirror: Path) -> Iterator[Figure]:
    """Of each endpoint, for a photo of somebody who is enrolled, which waits in the upload of that id."""
    arithmetic, data, client = Arithmetic(mirror), photo.read_bytes(), system.client

    def verify() -> Request:
        return partial(client.verify, upload_id)

    def upload() -> Request:
        return partial(client.upload, f"RECO_ID_{secrets.randbelow(10**9)}", {photo.name: data})

    def enroll() -> Request:
        return partial(client.upload_db, upload()()["upload_results"]["upload_id"], "Bench Mark")

    for what, goal, prepare, work in (
        ("/verify, liveness, five enrolled", 1.6, verify, arithmetic.verify),
        ("/upload_imgs", 1.5, upload, arithmetic.score),
        (f"/upload_db, NUM_AUG={AUGMENTATIONS}", 1.5, enroll, arithmetic.enroll),
    ):
        costs, alone = measure(system, prepare, partial(work, data))
        whole = sum(costs.values())
        parts = ", ".join(f"{name} {cost:.1f}" for name, cost in costs.items())
        note = f" ({whole:.1f} and {alone:.1f} ms: {parts})"
        yield at_most(f"{what}, 0.8 MP: processor time, to its arithmetic's", goal, whole / alone, "×", note)


def identifying(system: System, photo: Path, upload_id: str) -> Iterator[Figure]:
    """Of a search for everybody on a photo among many people, against a verification of the same, both without liveness."""
    crowd(system)
    body = json.dumps({"image": base64.b64encode(photo.read_bytes()).decode()}).encode()
    contenders: dict[str, Request] = {
        "identify": partial(system.client.post, "/v1/faces:identify", body, "application/json"),
        "verify": partial(system.client.verify, upload_id, skip_liveness=True),
    }
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(TURNS + 1):
        for name, request in contenders.items():
            before = used(system)
            for _ in range(REQUESTS):
                request()
            if turn:  # the first warms up
                taken[name].append((sum(used(system).values()) - sum(before.values())) / REQUESTS)
    ms = {name: statistics.median(some) for name, some in taken.items()}
    what = f":identify among {CROWD:,} people × {PHOTOS} photos, 0.8 MP: processor time, to a /verify's"
    yield at_most(what, 1.2, ms["identify"] / ms["verify"], "×", f" ({ms['identify']:.1f} and {ms['verify']:.1f} ms)")


def crowd(system: System) -> None:
    """Gives the embedder templates of many people who look like nobody; what is enrolled says of which model."""
    engine, rng = open_engine(make_url(f"sqlite:///{system.folder}/var/reco.db")), np.random.default_rng(0)
    with writing(engine) as connection:
        model, vector = connection.execute(select(templates.c.model, templates.c.vector).limit(1)).one()
        number = connection.scalars(select(revisions.c.number)).one()
        for some in range(CROWD):
            whose, vectors = f"CROWD_{some}", rng.normal(size=(PHOTOS, len(vector) // 4)).astype("<f4")
            rows = [
                {
                    "person_id": whose,
                    "photo_id": f"{n}.png",
                    "model": model,
                    "augmented": False,
                    "vector": one.tobytes(),
                }
                for n, one in enumerate(vectors)
            ]
            connection.execute(insert(templates), rows)
            connection.execute(insert(people).values(person_id=whose, revision=number + 1 + some, models=model))
        connection.execute(update(revisions).values(number=number + CROWD))
    engine.dispose()


def measure(system: System, prepare: Callable[[], Request], work: Callable[[], object]) -> tuple[Costs, float]:
    """Milliseconds of processor time of a request, by part, and of its arithmetic; medians of turns."""
    theirs: list[Costs] = []
    ours = []
    for turn in range(TURNS + 1):
        requests = [prepare() for _ in range(REQUESTS)]
        before = used(system)
        for request in requests:
            request()
        after = used(system)
        alone = statistics.median(cpu_ms(work) for _ in range(REQUESTS))
        if turn:  # the first warms up
            theirs.append({name: (after[name] - before[name]) / REQUESTS for name in PARTS})
            ours.append(alone)
    return {name: statistics.median(one[name] for one in theirs) for name in PARTS}, statistics.median(ours)


def used(system: System) -> Costs:
    """Milliseconds of processor time that each part has taken since it started."""
    return {name: _taken(system.pids(name)[-1]) for name in PARTS}


def _taken(pid: int) -> float:
    """Of all threads of a process, those that have ended too."""
    user, kernel = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return 1000 * (int(user) + int(kernel)) / os.sysconf("SC_CLK_TCK")
