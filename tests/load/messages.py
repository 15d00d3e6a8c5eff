"""The requests that the load tests send, made of real photos by the running system itself."""

import itertools
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import grpc
import numpy as np
from google.protobuf.message import Message
from reco.detector.v1 import detector_pb2, detector_pb2_grpc
from reco.embedder.v1 import embedder_pb2, embedder_pb2_grpc
from reco.gateway.v1 import (
    console_pb2,
    faces_pb2,
    gateway_pb2,
    gateway_pb2_grpc,
    info_pb2,
    people_pb2,
    people_pb2_grpc,
)
from reco.liveness.v1 import liveness_pb2

from deploy.local.demo import astronaut, jpeg
from services.common.limits import MAX_MESSAGE_BYTES
from tests.e2e.system import RECOGNISER
from tests.machine import ROOT

MODELS = (RECOGNISER,)
#: Envoy's limit of one client's requests, where one client stands for all.
UNLIMITED = {"RECO_ENVOY_CLIENT_RATE": "1000000", "RECO_ENVOY_CLIENT_BURST": "1000000"}
#: Photos that take turns; longer ones than this many bytes are left out.
PHOTOS = 16
MAX_PHOTO_BYTES = 400_000
SIZE = 224
AUGMENTATIONS = 4


@dataclass(frozen=True)
class Face:
    """A photo with one face, and what the stages make of it."""

    photo: bytes
    prepared: detector_pb2.PreparedFace
    template: embedder_pb2.Template


#: What is sent, in turns, to each method; the methods in the order in which they are to be called.
Requests = dict[str, list[Message]]


def data_folder() -> Path:
    """Where real photos and weights are, if anywhere."""
    return Path(os.environ.get("RECO_TEST_DATA", ROOT.parent / "shared" / "data"))


def photos() -> list[bytes]:
    """Real photos from the test data, or else the astronaut in several lights and sizes."""
    found = [path.read_bytes() for path in sorted((data_folder() / "faces" / "deepface").glob("id_*/*.jpg"))]
    return [photo for photo in found if len(photo) <= MAX_PHOTO_BYTES][:PHOTOS] or list(_astronauts())


def _astronauts() -> Iterator[bytes]:
    for number in range(PHOTOS):
        side = 512 - 12 * number
        photo = cv2.resize(astronaut(), (side, side), interpolation=cv2.INTER_AREA)
        yield jpeg(cv2.convertScaleAbs(photo, alpha=1, beta=3 * number), 90)


class Stages:
    """Stubs of a running system."""

    def __init__(self, address: Callable[[str], str]):
        """`address`: of a service by its name."""
        limit = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ]
        self.detector = detector_pb2_grpc.DetectorServiceStub(grpc.insecure_channel(address("detector"), limit))
        self.embedder = embedder_pb2_grpc.EmbedderServiceStub(grpc.insecure_channel(address("embedder"), limit))
        self.gateway = gateway_pb2_grpc.GatewayServiceStub(grpc.insecure_channel(address("gateway"), limit))
        self.people = people_pb2_grpc.PeopleServiceStub(grpc.insecure_channel(address("gateway"), limit))

    def faces(self) -> list[Face]:
        """The photos that show one face, with it cut out and embedded."""
        found = []
        for photo in photos():
            faces = self.detector.PrepareFaces(prepare(photo)).faces
            if len(faces) == 1:
                request = embedder_pb2.EmbedFacesRequest(models=MODELS, faces=[faces[0].crop])
                template = self.embedder.EmbedFaces(request).faces[0].templates[0]
                found.append(Face(photo, faces[0], template))
        return found

    def fill(self, people: int, like: embedder_pb2.Template) -> None:
        """Enrolls as many people as nobody looks like, so that searches have a gallery to search."""
        rng = np.random.default_rng(6)
        directions = rng.normal(size=(people, len(like.vector)))
        vectors = directions / np.linalg.norm(directions, axis=1, keepdims=True) * np.linalg.norm(like.vector)
        requests = (enroll(f"RECO_ID_8{number:06d}", like, vector) for number, vector in enumerate(vectors))
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(self.embedder.EnrollFaces, requests))

    def probes(self, faces: list[Face], skip_liveness: bool) -> list[str]:
        """Enrolls a person for each photo; gives uploads of the same photos that verify."""
        ids = person_ids(len(faces))
        for upload_id in self.upload(faces, ids):
            self.gateway.EnrollPerson(gateway_pb2.EnrollPersonRequest(upload_id=upload_id, name="Load Test"))
        verify = gateway_pb2.VerifyPersonRequest
        answers = {
            one: self.gateway.VerifyPerson(verify(upload_id=one, skip_liveness=skip_liveness))
            for one in self.upload(faces, ids)
        }
        verified = gateway_pb2.VerifyPersonResponse.OUTCOME_VERIFIED
        return [one for one, answer in answers.items() if answer.outcome == verified]

    def photos(self, probes: list[str]) -> list[tuple[str, str]]:
        """A photo of each person whom an upload names: the person's ID and the photo's."""
        people = [one.partition("-")[0] for one in probes]
        asked = (people_pb2.ListPhotosRequest(person_id=person_id) for person_id in people)
        return [
            (one, self.people.ListPhotos(request).photos[0].photo_id)
            for one, request in zip(people, asked, strict=True)
        ]

    def upload(self, faces: Iterable[Face], ids: Iterable[str]) -> list[str]:
        """Uploads a photo for each ID; gives the upload IDs."""
        requests = [_upload(face, person_id) for face, person_id in zip(itertools.cycle(faces), ids, strict=False)]
        with ThreadPoolExecutor(4) as threads:
            return [answer.upload_id for answer in threads.map(self.gateway.UploadPhotos, requests)]


def person_ids(count: int) -> list[str]:
    """IDs that nobody has."""
    start = uuid.uuid4().int % 10**9
    return [f"RECO_ID_9{start:09d}{number:04d}" for number in range(count)]


def prepare(photo: bytes) -> detector_pb2.PrepareFacesRequest:
    return detector_pb2.PrepareFacesRequest(image=photo, width=SIZE, height=SIZE, augmentations=AUGMENTATIONS)


def enroll(person_id: str, like: embedder_pb2.Template, vector: Iterable[float]) -> embedder_pb2.EnrollFacesRequest:
    """Enrolls one photo by a template of the same model as `like`."""
    template = embedder_pb2.Template(model=like.model, model_version=like.model_version, vector=vector)
    photo = embedder_pb2.GalleryPhoto(photo_id="001.png", templates=[template])
    return embedder_pb2.EnrollFacesRequest(person_id=person_id, models=MODELS, photos=[photo])


def _upload(face: Face, person_id: str) -> gateway_pb2.UploadPhotosRequest:
    photo = gateway_pb2.Photo(name="photo.jpg", image=face.photo)
    return gateway_pb2.UploadPhotosRequest(person_id=person_id, photos=[photo])


def stateless(faces: list[Face]) -> Requests:
    """Requests of detector and liveness, and the embedder's that store nothing."""
    liveness = liveness_pb2.CheckLivenessRequest
    return {
        "detector.DetectFaces": [detector_pb2.DetectFacesRequest(image=face.photo) for face in faces],
        "detector.ScoreImage": [detector_pb2.ScoreImageRequest(image=face.photo) for face in faces],
        "detector.PrepareFaces": [prepare(face.photo) for face in faces],
        "liveness.CheckLiveness": [liveness(image=face.photo, boxes=[face.prepared.face.box]) for face in faces],
        "embedder.EmbedFaces": [
            embedder_pb2.EmbedFacesRequest(models=MODELS, faces=[face.prepared.crop]) for face in faces
        ],
    }


def gallery(faces: list[Face]) -> Requests:
    """Requests of the embedder about people: those it enrolls first are those it then looks for."""
    ids = person_ids(len(faces))
    distance = embedder_pb2.DISTANCE_COSINE
    probes = [embedder_pb2.Probe(templates=[face.template]) for face in faces]
    verify = embedder_pb2.VerifyFacesRequest
    identify = embedder_pb2.IdentifyFacesRequest
    return {
        "embedder.EnrollFaces": [
            enroll(person_id, face.template, face.template.vector) for person_id, face in zip(ids, faces, strict=True)
        ],
        "embedder.EnrollPeople": [
            embedder_pb2.EnrollPeopleRequest(
                people=[
                    enroll(person_id, face.template, face.template.vector)
                    for person_id, face in zip(ids[:20], faces[:20], strict=True)
                ]
            )
        ],
        "embedder.FindUnenrolled": [embedder_pb2.FindUnenrolledRequest(person_ids=ids, models=MODELS)],
        "embedder.VerifyFaces": [
            verify(person_id=person_id, models=MODELS, distance=distance, probes=[probe], min_pairs=1)
            for person_id, probe in zip(ids, probes, strict=True)
        ],
        "embedder.IdentifyFaces": [identify(models=MODELS, distance=distance, probes=[probe]) for probe in probes],
        "embedder.CompareFaces": [
            embedder_pb2.CompareFacesRequest(models=MODELS, distance=distance, probes=[probe], others=probes)
            for probe in probes
        ],
        "embedder.FindSimilarPeople": [
            embedder_pb2.FindSimilarPeopleRequest(person_ids=ids[:50], models=MODELS, distance=distance)
        ],
        "embedder.ListTemplates": [embedder_pb2.ListTemplatesRequest(person_ids=ids, models=MODELS)],
        "embedder.RemovePerson": [embedder_pb2.RemovePersonRequest(person_id=person_id) for person_id in ids],
        "embedder.DescribeModels": [embedder_pb2.DescribeModelsRequest(models=MODELS, distance=distance)],
        "embedder.RebuildIndex": [embedder_pb2.RebuildIndexRequest(models=MODELS)],
        "embedder.DropTemplates": [embedder_pb2.DropTemplatesRequest()],
    }


def people(faces: list[Face], uploads: list[str], probes: list[str], skip_liveness: bool) -> Requests:
    """Requests of the gateway: it enrolls `uploads`, each once, and verifies `probes`, of people who are enrolled."""
    ids = person_ids(len(uploads))
    verify = gateway_pb2.VerifyPersonRequest
    return {
        "gateway.UploadPhotos": [_upload(face, person_id) for face, person_id in zip(faces, ids, strict=False)],
        "gateway.EnrollPerson": [gateway_pb2.EnrollPersonRequest(upload_id=one, name="Load Test") for one in uploads],
        "gateway.VerifyPerson": [verify(upload_id=one, skip_liveness=skip_liveness) for one in probes],
        "gateway.ListUploads": [gateway_pb2.ListUploadsRequest()],
        "gateway.DeleteUpload": [gateway_pb2.DeleteUploadRequest(upload_id=f"{one}-1") for one in ids],  # nobody's
        "gateway.DeletePerson": [gateway_pb2.DeletePersonRequest(person_id=one.partition("-")[0]) for one in uploads],
    }


def directory(faces: list[Face], enrolled: list[tuple[str, str]]) -> Requests:
    """Requests about people who are enrolled, each given with a photo of theirs; they are gone in the end."""
    files = [people_pb2.PhotoFile(name="photo.jpg", image=face.photo) for face in faces]
    photos = [{"person_id": person_id, "photo_id": photo_id} for person_id, photo_id in enrolled]
    merged, others = photos[:4], photos[4:]
    person, create = people_pb2.Person, people_pb2.CreatePersonRequest
    return {
        "gateway.DetectFaces": [faces_pb2.DetectFacesRequest(image=face.photo) for face in faces],
        "gateway.CompareFaces": [
            faces_pb2.CompareFacesRequest(image=face.photo, other_image=faces[0].photo) for face in faces
        ],
        "gateway.IdentifyFaces": [faces_pb2.IdentifyFacesRequest(image=face.photo) for face in faces],
        "gateway.VerifyFace": [
            faces_pb2.VerifyFaceRequest(person_id=one, image=face.photo, skip_liveness=True)
            for (one, _), face in zip(enrolled, faces, strict=False)
        ],
        "gateway.GetInfo": [info_pb2.GetInfoRequest()],
        "gateway.GetOpenApi": [info_pb2.GetOpenApiRequest()],
        "gateway.GetFile": [console_pb2.GetFileRequest(), console_pb2.GetFileRequest(name="main.js")],
        "gateway.ListPeople": [people_pb2.ListPeopleRequest(), people_pb2.ListPeopleRequest(name_prefix="load")],
        "gateway.GetPerson": [people_pb2.GetPersonRequest(person_id=one) for one, _ in enrolled],
        "gateway.CreatePerson": [create(display_name="Load Test", photos=[file]) for file in files],
        "gateway.UpdatePerson": [
            people_pb2.UpdatePersonRequest(person=person(person_id=one, labels=["load"])) for one, _ in enrolled
        ],
        "gateway.AddPhotos": [
            people_pb2.AddPhotosRequest(person_id=one, photos=[file])
            for (one, _), file in zip(enrolled, files, strict=False)
        ],
        "gateway.ListPhotos": [people_pb2.ListPhotosRequest(person_id=one) for one, _ in enrolled],
        "gateway.GetPhoto": [people_pb2.GetPhotoRequest(**photo) for photo in photos],
        "gateway.GetPhotoImage": [people_pb2.GetPhotoImageRequest(**photo) for photo in photos],
        "gateway.ListConflicts": [people_pb2.ListConflictsRequest()],
        "gateway.MergePerson": [
            people_pb2.MergePersonRequest(person_id=one["person_id"], other_person_id=other["person_id"])
            for one, other in itertools.pairwise(merged)
        ],
        "gateway.DeletePhoto": [people_pb2.DeletePhotoRequest(**photo, delete_person=True) for photo in others],
    }
