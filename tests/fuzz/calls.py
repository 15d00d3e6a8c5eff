"""gRPC calls of every RPC."""

from typing import Any, cast

from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st
from reco.embedder.v1 import embedder_pb2
from reco.types.v1 import face_pb2

from tests.e2e.services import NAMES
from tests.e2e.system import RECOGNISER
from tests.fuzz import forms, pictures, world
from tests.fuzz.edits import chosen
from tests.fuzz.inputs import Call
from tests.fuzz.messages import Hints, Messages, wire
from tests.fuzz.protos import OF_ALL

PEOPLE = (world.PERSON, world.PERSON, world.OTHER, world.NOBODY)
UPLOADS = (*world.GOOD, *world.GOOD, world.FACELESS, world.BROKEN, world.ABSENT, f"{world.PERSON}-1")
CALLED = ("Eileen Collins", "o'brien-smith", "می‌خواهم", "x")

#: Headers that services, gRPC or Envoy give a meaning.
METADATA = (
    ("x-request-id", "a b;c" * 50),
    ("x-request-id", "4f2c"),
    ("x-reco-key-name", "admin"),
    ("authorization", "Bearer none"),
    ("traceparent", "00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-01"),
    ("traceparent", "zz"),
    ("content-encoding", "gzip"),
    ("grpc-accept-encoding", "none"),
    ("te", "chunked"),
    ("a" * 200, "b" * 4000),
)


def hints(known: world.Known) -> Hints:
    """Plausible values by the names that the protos give them."""
    photo = pictures.readable()
    landmarks = face_pb2.Landmarks()
    for name, (x, y) in zip(landmarks.DESCRIPTOR.fields_by_name, known.landmarks, strict=True):
        getattr(landmarks, name).CopyFrom(face_pb2.Point(x=x, y=y))
    crop = face_pb2.FaceCrop(image=known.crop, landmarks=landmarks)
    templates = [
        embedder_pb2.Template(model=RECOGNISER, model_version=known.version, vector=row.tolist())
        for row in known.templates
    ]
    one: dict[str, st.SearchStrategy[Any]] = {
        "odd bytes": pictures.odd(),
        "image": photo,
        "person_id": st.sampled_from(PEOPLE),
        "person_ids": st.lists(st.sampled_from(PEOPLE), max_size=4),
        "id": st.sampled_from(PEOPLE),
        "upload_id": st.sampled_from(UPLOADS),
        "name": st.sampled_from(CALLED),
        "photo_id": st.sampled_from(("001.png", "002.png")),
        "keep_photo_ids": st.lists(st.sampled_from(("001.png", "x")), max_size=2),
        "model": st.just(RECOGNISER),
        "models": st.just([RECOGNISER]),
        "model_version": st.just(known.version),
        "vector": chosen(known.templates.tolist()),
        "distance": st.sampled_from((1, 2, 3)),
        "crop": st.one_of(chosen([crop]), _any(face_pb2.FaceCrop, image=photo, landmarks=chosen([landmarks]))),
        "width": st.integers(32, 256),
        "height": st.integers(32, 256),
        "x": st.integers(-20, 128),
        "y": st.integers(-20, 128),
        "quarter_turns": st.just([]),
        "augmentations": st.integers(0, 3),
        "min_face_px": st.sampled_from((0, 12, 40)),
        "max_side_px": st.sampled_from((0, 100, 2000)),
        "google.api.HttpBody": forms.http_bodies(photo),
    }
    rough = Messages(one).of(cast(Descriptor, embedder_pb2.Template.DESCRIPTOR))
    made = st.lists(st.integers(0, 9).flatmap(lambda odd: rough if odd == 9 else chosen(templates)), max_size=2)
    one |= {f"reco.embedder.v1.{kind}.templates": made for kind in ("GalleryPhoto", "Probe")}
    return one


def _any(kind: Any, **values: st.SearchStrategy[Any]) -> st.SearchStrategy[Message]:
    return st.builds(kind, **values)


def calls(method: MethodDescriptor, messages: Messages) -> st.SearchStrategy[Call]:
    """Calls of one RPC, of the gateway's also through Envoy."""
    service = method.containing_service.full_name
    never_ends = method.server_streaming and not method.client_streaming  # grpc.health.v1.Health/Watch
    one = wire(messages.of(method.input_type))
    usual = st.lists(one, min_size=1, max_size=3 if method.client_streaming else 1)
    requests = st.integers(0, 30).flatmap(lambda odd: st.lists(one, max_size=3) if odd == 30 else usual)
    few = st.integers(0, 9).flatmap(lambda usual: st.just([]) if usual else st.lists(chosen(METADATA), max_size=3))
    return st.builds(
        Call,
        target=st.sampled_from(targets(service)),
        path=st.just(f"/{service}/{method.name}"),
        requests=requests.map(tuple),
        metadata=few.map(tuple),
        impatient=st.integers(0, 40).map(lambda number: number == 40 or never_ends),
    )


def targets(service: str) -> tuple[str, ...]:
    """Who answers a service's calls: reco.detector.v1.DetectorService is the detector's."""
    if service in OF_ALL:
        return (*NAMES, "envoy")
    if not service.startswith("reco."):
        return ("gateway",)  # Envoy's own, which asks the gateway whether a request may pass
    part = service.split(".")[1]
    return ("gateway", "envoy") if part == "gateway" else (part,)
