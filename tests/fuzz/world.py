"""The state of a system under which inputs are tried: the same before each batch, so that inputs can be tried again."""

import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import cv2
import grpc
import numpy as np
from reco.detector.v1 import detector_pb2, detector_pb2_grpc
from reco.embedder.v1 import embedder_pb2, embedder_pb2_grpc
from reco.gateway.v1 import gateway_pb2, gateway_pb2_grpc

from deploy.local.demo import another_face, astronaut, jpeg
from services.common.limits import MAX_MESSAGE_BYTES
from tests.e2e.system import RECOGNISER, System
from tests.fuzz import pictures

PERSON, OTHER, NOBODY = "RECO_ID_1", "RECO_ID_2", "RECO_ID_3"
#: Uploads by name: of faces to be enrolled and verified, of pictures without a face, of what is no picture, and none.
GOOD = (f"{PERSON}-100000000000000001", f"{PERSON}-100000000000000002", f"{OTHER}-100000000000000003")
FACELESS, BROKEN, ABSENT = (f"{PERSON}-10000000000000000{number}" for number in (4, 5, 6))

#: Seconds for the calls that set it up.
TIMEOUT = 120


@dataclass(frozen=True)
class Known:
    """What a client can know: of it plausible requests are made.

    Attributes:
        version: of the recogniser's templates.
        templates: float32 (n, dimension).
        crop: a PNG of a face, and its landmarks.
    """

    version: str
    templates: np.ndarray
    crop: bytes
    landmarks: tuple[tuple[float, float], ...]


class World:
    """Sets a running system up."""

    def __init__(self, system: System):
        self._system = system
        limit = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
        channels = {
            name: grpc.insecure_channel(system.address(name), limit) for name in ("gateway", "detector", "embedder")
        }
        self._gateway = gateway_pb2_grpc.GatewayServiceStub(channels["gateway"])
        self._detector = detector_pb2_grpc.DetectorServiceStub(channels["detector"])
        self._embedder = embedder_pb2_grpc.EmbedderServiceStub(channels["embedder"])
        self._photos = [jpeg(astronaut()), jpeg(another_face(astronaut()))]
        self._faces = [jpeg(pictures.face()), jpeg(cv2.convertScaleAbs(pictures.face(), alpha=1.1))]

    def known(self) -> Known:
        """What the system makes of two faces."""
        prepare = detector_pb2.PrepareFacesRequest
        crops = [
            self._detector.PrepareFaces(prepare(image=photo, width=112, height=112), timeout=TIMEOUT).faces[0].crop
            for photo in self._photos
        ]
        request = embedder_pb2.EmbedFacesRequest(models=[RECOGNISER], faces=crops)
        rows = [row.templates[0] for row in self._embedder.EmbedFaces(request, timeout=TIMEOUT).faces]
        landmarks = [getattr(crops[0].landmarks, name) for name in crops[0].landmarks.DESCRIPTOR.fields_by_name]
        return Known(
            rows[0].model_version,
            np.array([row.vector for row in rows], np.float32),
            crops[0].image,
            tuple((point.x, point.y) for point in landmarks),
        )

    def reset(self) -> None:
        """Forgets everybody and all uploads, and enrolls the two people."""
        self._embedder.DropTemplates(embedder_pb2.DropTemplatesRequest(), timeout=TIMEOUT)
        for person in self._people():
            self._gateway.DeletePerson(gateway_pb2.DeletePersonRequest(person_id=person), timeout=TIMEOUT)
        for folder in self._system.uploads.iterdir():
            if not folder.name.startswith("."):
                shutil.rmtree(folder, ignore_errors=True)
        for person, photo in zip((PERSON, OTHER), self._photos, strict=True):
            upload_id = f"{person}-1"
            self._put(upload_id, photo)
            request = gateway_pb2.EnrollPersonRequest(upload_id=upload_id, name="Eileen Collins", in_place=True)
            self._gateway.EnrollPerson(request, timeout=TIMEOUT)
        for number, upload_id in enumerate(GOOD):
            self._put(upload_id, self._faces[number % 2])
        self._put(FACELESS, jpeg(np.full((64, 64, 3), 128, np.uint8)))
        self._put(BROKEN, b"no picture")

    def _put(self, upload_id: str, photo: bytes) -> None:
        """An upload, as the gateway stores it."""
        folder: Path = self._system.uploads / upload_id
        folder.mkdir(mode=0o700)
        (folder / "001.jpg").write_bytes(photo)

    def _people(self) -> list[str]:
        path = self._system.folder / "var" / "reco.db"
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            rows = connection.execute("SELECT reco_id FROM reco_table").fetchall()
        finally:
            connection.close()
        return [str(person) for (person,) in rows]
