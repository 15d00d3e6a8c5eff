"""Of any upload that is accepted, each call between the services fits a message."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import grpc
import pytest
from reco.embedder.v1 import embedder_pb2 as pb
from reco.embedder.v1 import embedder_pb2_grpc
from sqlalchemy import make_url

from services.common.database import open_engine
from services.common.errors import RecoError
from services.common.limits import MAX_BODY_BYTES
from services.common.server import Server, ServerOptions
from services.embedder.gallery.store import Gallery
from services.embedder.model import Embedder
from services.embedder.search.follow import LocalIndexes
from services.embedder.servicer import EmbedderServicer
from services.gateway.stages.channels import open_channel
from services.gateway.stages.embedder import EmbedderClient
from services.gateway.stages.types import CropFile, EnrolledPerson, EnrollmentPhoto, Measure
from services.images.decode import encode_bmp
from tests.fakes import FakeRecogniser, fake_crop, fake_recognisers
from tests.indexes import new_exact_index

PERSON, MODELS = "RECO_ID_1", ("Dlib",)
COSINE = Measure(MODELS, "cosine")


class Unknown(RecoError):
    """What gRPC answers of itself where a method is not known."""

    status = "UNIMPLEMENTED"


class EarlierServicer(EmbedderServicer):
    """An embedder of an earlier version: it enrolls people singly, and does not tell the templates of crops it compares."""

    def EnrollPeople(self, request: pb.EnrollPeopleRequest, context: grpc.ServicerContext) -> pb.EnrollPeopleResponse:
        raise Unknown("Method not found!")

    def VerifyFaces(self, request: pb.VerifyFacesRequest, context: grpc.ServicerContext) -> pb.VerifyFacesResponse:
        answer = super().VerifyFaces(request, context)
        answer.ClearField("probes")
        return answer


@pytest.fixture
def embedder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbedderClient]:
    """A real one, with a made-up network; its servicer may be a parameter."""
    engine = open_engine(make_url(f"sqlite:///{tmp_path}/embedder.db"))
    gallery = Gallery(lambda: engine)
    recognisers = fake_recognisers(FakeRecogniser("Dlib"))
    kind = getattr(request, "param", EmbedderServicer)
    servicer = kind(Embedder(recognisers, gallery, LocalIndexes(gallery, new_exact_index)))
    add = embedder_pb2_grpc.add_EmbedderServiceServicer_to_server
    server = Server(ServerOptions("127.0.0.1:0"), {"reco.embedder.v1.EmbedderService": lambda one: add(servicer, one)})
    server.start()
    yield EmbedderClient(open_channel(f"127.0.0.1:{server.port}"))
    server.stop(0)
    engine.dispose()


def crop(identity: int, side: int = 224) -> CropFile:
    """A face as the detector cuts it out for the next stage alone."""
    small = fake_crop(identity)
    pixels = cv2.resize(small.pixels, (side, side), interpolation=cv2.INTER_NEAREST)
    return CropFile(encode_bmp(pixels), tuple((float(x), float(y)) for x, y in small.landmarks))


def is_larger_than_a_message(crops: list[CropFile]) -> bool:
    return sum(len(one.image) for one in crops) > MAX_BODY_BYTES


@pytest.mark.parametrize(("number", "side"), [(500, 224), (30, 1024)])
def test_faces_are_embedded_in_pieces(embedder: EmbedderClient, number: int, side: int):
    crops = [crop(identity, side) for identity in range(2)] * (number // 2)
    assert is_larger_than_a_message(crops)
    templates = embedder.embed(MODELS, crops)
    assert len(templates) == number and templates[0] == templates[2] != templates[1]


def test_a_person_of_many_photos_is_enrolled_whole(embedder: EmbedderClient):
    one = crop(1)
    photos = [EnrollmentPhoto(f"{number}.png", False, one) for number in range(500)]
    assert is_larger_than_a_message([one] * len(photos))
    (known,) = embedder.embed(MODELS, [one])
    photos[7] = replace(photos[7], face=known)
    embedder.enroll(PERSON, MODELS, photos, ())
    assert embedder.unenrolled([PERSON], MODELS) == []
    (match,) = embedder.identify(COSINE, [known]).matches
    assert (match.person_id, match.distance) == (PERSON, pytest.approx(0, abs=1e-6))


def test_augmented_faces_are_compared_in_pieces_and_their_pairs_counted_on(embedder: EmbedderClient):
    mine, strangers = crop(1), [crop(2)] * 499
    embedder.enroll(PERSON, MODELS, [EnrollmentPhoto("1.png", False, mine)], ())
    (stranger,) = embedder.embed(MODELS, strangers[:1])
    assert is_larger_than_a_message([mine, *strangers])
    for augmented, needed, verified in [
        (strangers, 1, False),
        ([*strangers, mine], 1, True),
        ([mine, *strangers, mine], 2, True),
        ([mine, *strangers, mine], 3, False),
    ]:
        decision = embedder.verify(PERSON, COSINE, (1, needed), [stranger], augmented)
        assert decision.verified == verified
        assert decision.best is not None and (decision.best.distance < 1e-6) == (mine in augmented)


@pytest.mark.parametrize("embedder", [EmbedderServicer, EarlierServicer], indirect=True)
def test_who_is_compared_is_embedded_too_also_by_an_earlier_version(embedder: EmbedderClient):
    embedder.enroll(PERSON, MODELS, [EnrollmentPhoto("1.png", False, crop(1))], ())
    decision = embedder.verify(PERSON, COSINE, (1, 1), [crop(1), crop(2)])
    assert decision.verified and decision.templates == tuple(embedder.embed(MODELS, [crop(1), crop(2)]))


@pytest.mark.parametrize("embedder", [EmbedderServicer, EarlierServicer], indirect=True)
def test_several_people_are_enrolled_at_once_also_by_an_earlier_version(embedder: EmbedderClient):
    photos = tuple(EnrollmentPhoto(f"{number}.png", False, crop(number)) for number in (1, 2))
    embedder.enroll_people(MODELS, [EnrolledPerson(PERSON, photos), EnrolledPerson("RECO_ID_2", photos[1:])])
    embedder.enroll_people(MODELS, [EnrolledPerson(PERSON, (), ("2.png",))])
    stored = embedder.templates_of(MODELS, [PERSON, "RECO_ID_2"])
    assert set(stored) == {(PERSON, "2.png"), ("RECO_ID_2", "2.png")}
