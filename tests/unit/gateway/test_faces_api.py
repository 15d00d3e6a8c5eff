"""Faces by the typed API: pictures that are looked at and not kept, as messages and as forms."""

import math
from typing import Any

import pytest
from google.api import httpbody_pb2
from reco.gateway.v1 import faces_pb2 as pb
from reco.gateway.v1 import people_pb2
from reco.types.v1 import results_pb2

from services.common.errors import InvalidImage, RecoError
from services.common.faces import Verdict
from services.gateway.access.attempts import Attempts, TooManyAttempts
from services.gateway.errors import (
    InvalidField,
    InvalidPersonId,
    NoFace,
    NotEnrolled,
    TooManyPhotos,
)
from tests.fakes import FakeFace, fake_photo
from tests.unit.gateway.fake_gateway import CONTEXT, PERSON, FakeGateway

ANN, BOB = fake_photo("ann"), fake_photo("bob")
BOTH = fake_photo(FakeFace("ann", 0.1), "bob", "carl")  # each larger than the one before
OTHER = "RECO_ID_000002"


@pytest.fixture
def enrolled(gateway: FakeGateway) -> FakeGateway:
    """Ann and Bob, who is staff."""
    gateway.set_env(num_aug=0)
    gateway.enroll(ANN)
    photos = [people_pb2.PhotoFile(name="bob.jpg", image=BOB)]
    bob = people_pb2.CreatePersonRequest(person_id=OTHER, display_name="Bob", labels=["staff"], photos=photos)
    gateway.people_api.CreatePerson(bob, CONTEXT)
    return gateway


def detect(gateway: FakeGateway, image: bytes, **options: Any) -> pb.DetectFacesResponse:
    return gateway.faces_api.DetectFaces(pb.DetectFacesRequest(image=image, **options), CONTEXT)


def compare(gateway: FakeGateway, image: bytes, other: bytes, **options: Any) -> pb.CompareFacesResponse:
    request = pb.CompareFacesRequest(image=image, other_image=other, **options)
    return gateway.faces_api.CompareFaces(request, CONTEXT)


def identify(gateway: FakeGateway, image: bytes, **options: Any) -> pb.IdentifyFacesResponse:
    return gateway.faces_api.IdentifyFaces(pb.IdentifyFacesRequest(image=image, **options), CONTEXT)


def verify(gateway: FakeGateway, image: bytes, person_id: str = PERSON, **options: Any) -> pb.VerifyFaceResponse:
    request = pb.VerifyFaceRequest(person_id=person_id, image=image, **options)
    return gateway.faces_api.VerifyFace(request, CONTEXT)


def names(answer: pb.IdentifyFacesResponse) -> list[list[str]]:
    return [[one.person.display_name for one in face.candidates] for face in answer.faces]


def test_every_face_is_seen_the_largest_first(gateway: FakeGateway):
    answer = detect(gateway, BOTH)
    assert [face.place.box.x for face in answer.faces] == [200, 100, 0]
    assert answer.faces[0].place.landmarks.nose.x == 225
    assert not answer.faces[0].HasField("liveness")
    assert answer.quality.score == 9
    assert len(detect(gateway, BOTH, largest_face_only=True).faces) == 1
    assert not detect(gateway, fake_photo()).faces


def test_liveness_is_told_where_it_is_asked_for(gateway: FakeGateway):
    answer = detect(gateway, fake_photo(FakeFace("ann", 0, Verdict.SPOOF)), check_liveness=True)
    assert answer.faces[0].liveness.verdict == results_pb2.FaceLiveness.VERDICT_SPOOF


def test_every_pair_of_two_pictures(gateway: FakeGateway):
    answer = compare(gateway, BOTH, fake_photo("ann", "dora"))
    assert (len(answer.faces), len(answer.other_faces), len(answer.pairs)) == (3, 2, 6)
    best = answer.pairs[0]
    assert (best.face, best.other_face, best.same_person, best.distance) == (2, 1, True, pytest.approx(0.1))
    assert not any(pair.same_person for pair in answer.pairs[1:])
    assert not compare(gateway, BOTH, fake_photo("ann"), threshold=0.05).pairs[0].same_person
    assert len(compare(gateway, BOTH, ANN, largest_face_only=True).pairs) == 1


def test_who_the_faces_of_a_group_are(enrolled: FakeGateway):
    answer = identify(enrolled, BOTH)
    assert names(answer) == [[], ["Bob"], ["Ann Lee"]]
    assert [face.unknown for face in answer.faces] == [True, False, False]
    assert answer.faces[2].candidates[0].person.person_id == PERSON
    assert {one.model for one in answer.thresholds} == set(enrolled.workspace.env.selected_models)
    assert names(identify(enrolled, BOTH, labels=["staff", "guest"])) == [[], ["Bob"], []]
    assert names(identify(enrolled, BOTH, threshold=0.05)) == [[], ["Bob"], []]
    assert names(identify(enrolled, BOTH, largest_face_only=True)) == [[]]
    assert not identify(enrolled, fake_photo()).faces


def test_the_nearest_people_of_each_face(enrolled: FakeGateway):
    for number in range(3, 8):
        enrolled.enroll(
            fake_photo(FakeFace("ann", number / 100)), person=f"RECO_ID_00000{number}", name=f"Twin {number}"
        )
    assert names(identify(enrolled, ANN)) == [["Ann Lee", "Twin 3", "Twin 4", "Twin 5", "Twin 6"]]
    assert names(identify(enrolled, ANN, top_k=1)) == [["Ann Lee"]]
    assert len(names(identify(enrolled, ANN, top_k=100))[0]) == 6


def test_somebody_is_verified_by_a_picture(enrolled: FakeGateway):
    answer = verify(enrolled, BOTH)
    assert (answer.verified, answer.outcome) == (True, answer.OUTCOME_VERIFIED)
    assert (answer.person.display_name, answer.distance) == ("Ann Lee", pytest.approx(0.1))
    assert len(answer.liveness) == 3
    refused = verify(enrolled, BOTH, largest_face_only=True)
    assert (refused.verified, refused.outcome) == (False, refused.OUTCOME_NOT_VERIFIED)
    assert not refused.HasField("person")
    assert not verify(enrolled, BOTH, threshold=0.05).verified


def test_a_spoof_is_not_compared(enrolled: FakeGateway):
    spoof = fake_photo(FakeFace("ann", 0, Verdict.SPOOF), FakeFace("bob", 0, Verdict.UNDECIDABLE))
    answer = verify(enrolled, spoof)
    assert (answer.verified, answer.outcome, answer.distance) == (False, answer.OUTCOME_SPOOF, 0)
    assert not verify(enrolled, fake_photo(FakeFace("ann", 0, Verdict.SPOOF), "bob")).verified
    assert verify(enrolled, spoof, skip_liveness=True).verified


def test_nothing_is_kept(enrolled: FakeGateway):
    photos, waiting = enrolled.photos.folders.copy(), enrolled.uploads.waiting.copy()
    for ask in (detect, identify, verify):
        ask(enrolled, BOTH)
    assert (enrolled.photos.folders, enrolled.uploads.waiting) == (photos, waiting)


def test_claims_of_one_person_are_limited(gateway: FakeGateway):
    gateway.restart(attempts=Attempts(1))
    with pytest.raises(NotEnrolled):
        verify(gateway, ANN)
    with pytest.raises(TooManyAttempts):
        verify(gateway, ANN)


def test_nobody_climbs_towards_a_face_by_laxer_searches(gateway: FakeGateway):
    """To be told how far somebody is who does not match is a claim of theirs."""
    gateway.set_env(num_aug=0)
    gateway.enroll(ANN)
    gateway.restart(attempts=Attempts(1))
    like, unlike = fake_photo(FakeFace("ann", 0.1)), fake_photo(FakeFace("ann", 0.7))
    for _ in range(3):
        assert names(identify(gateway, like, threshold=0.9)) == [["Ann Lee"]]
        assert names(identify(gateway, unlike)) == [[]]
    assert names(identify(gateway, unlike, threshold=0.9)) == [["Ann Lee"]]
    with pytest.raises(TooManyAttempts):
        identify(gateway, unlike, threshold=0.9)


@pytest.mark.parametrize("ask", [detect, identify, verify])
def test_what_is_no_picture(enrolled: FakeGateway, ask: Any):
    with pytest.raises(InvalidField) as refused:
        ask(enrolled, b"")
    assert refused.value.field == "image"
    with pytest.raises(InvalidImage):
        ask(enrolled, b"no picture")


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("top_k", {"top_k": 1_000_000}),
        ("top_k", {"top_k": -1}),
        ("labels[0]", {"labels": ["x" * 65]}),
        ("threshold", {"threshold": -1.0}),
        ("threshold", {"threshold": math.nan}),
        ("threshold", {"threshold": math.inf}),
        ("max_fmr", {"max_fmr": 0.5}),
        ("max_fmr", {"max_fmr": -1e-3}),
        ("max_fmr", {"max_fmr": math.nan}),
        ("max_fmr", {"max_fmr": 1e-4, "threshold": 0.5}),
    ],
)
def test_the_field_that_does_not_fit_is_named(enrolled: FakeGateway, field: str, options: dict[str, Any]):
    with pytest.raises(InvalidField) as refused:
        identify(enrolled, ANN, **options)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("error", "image", "person_id"),
    [
        (NoFace, fake_photo(), PERSON),
        (NotEnrolled, ANN, "RECO_ID_000009"),
        (InvalidPersonId, ANN, "nobody"),
        (InvalidPersonId, ANN, ""),
    ],
)
def test_claims_that_cannot_be_decided(enrolled: FakeGateway, error: type[RecoError], image: bytes, person_id: str):
    with pytest.raises(error):
        verify(enrolled, image, person_id)


def test_a_picture_without_a_face_is_named(gateway: FakeGateway):
    with pytest.raises(NoFace, match="other_image"):
        compare(gateway, ANN, fake_photo())
    with pytest.raises(NoFace, match="^image"):
        compare(gateway, fake_photo(), ANN)


# Forms

BOUNDARY = "xyz"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


def form(*parts: tuple[str, bytes]) -> httpbody_pb2.HttpBody:
    """A form; a part whose name ends in a file's is one."""
    lines = []
    for name, content in parts:
        field, _, file_name = name.partition(" ")
        disposition = f'form-data; name="{field}"' + (f'; filename="{file_name}"' if file_name else "")
        lines.append(f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n")
    return httpbody_pb2.HttpBody(content_type=MULTIPART, data=b"".join(lines) + f"--{BOUNDARY}--\r\n".encode())


def test_forms_say_the_same_as_messages(enrolled: FakeGateway):
    forms = enrolled.forms_api
    sent = form(
        ("image a.jpg", BOTH), ("labels", b"guest"), ("labels", b"staff"), ("top_k", b"2"), ("max_fmr", b"0.001")
    )
    assert names(forms.IdentifyFaces(sent, CONTEXT)) == [[], ["Bob"], []]
    assert len(forms.DetectFaces(form(("image a.jpg", BOTH), ("largest_face_only", b"true")), CONTEXT).faces) == 1
    assert forms.CompareFaces(form(("image", ANN), ("other_image b", ANN)), CONTEXT).pairs[0].same_person
    claim = pb.PersonForm(person_id=PERSON, body=form(("image a.jpg", ANN)))
    assert forms.VerifyFace(claim, CONTEXT).verified
    dora = form(("display_name", "Dörte".encode()), ("photos 1.jpg", fake_photo("dora")), ("labels", b"new"))
    person = forms.CreatePerson(dora, CONTEXT).person
    assert (person.display_name, list(person.labels)) == ("Dörte", ["new"])
    more = pb.PersonForm(person_id=person.person_id, body=form(("photos 2.jpg", fake_photo(FakeFace("dora", 0.2)))))
    assert forms.AddPhotos(more, CONTEXT).photos[0].name == "2.jpg"


@pytest.mark.parametrize(
    ("field", "parts"),
    [
        ("colour", (("image a", ANN), ("colour", b"red"))),
        ("top_k", (("image a", ANN), ("top_k", b"many"))),
        ("top_k", (("image a", ANN), ("top_k", b"99999999999999999999"))),
        ("largest_face_only", (("image a", ANN), ("largest_face_only", b"perhaps"))),
        ("max_fmr", (("image a", ANN), ("max_fmr", b"nan"))),
        ("labels", (("image a", ANN), ("labels", b"\xff"))),
        ("image", ()),
        ("image", (("top_k", b"1"),)),
    ],
)
def test_a_part_that_does_not_fit_is_named(enrolled: FakeGateway, field: str, parts: tuple[tuple[str, bytes], ...]):
    with pytest.raises(InvalidField) as refused:
        enrolled.forms_api.IdentifyFaces(form(*parts), CONTEXT)
    assert refused.value.field == field


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "multipart/form-data", "multipart/form-data; boundary=other"]
)
def test_a_body_that_is_no_form(enrolled: FakeGateway, content_type: str):
    body = httpbody_pb2.HttpBody(content_type=content_type, data=form(("image a", ANN)).data)
    with pytest.raises(InvalidField):
        enrolled.forms_api.IdentifyFaces(body, CONTEXT)


def test_a_form_of_endless_parts_is_refused(enrolled: FakeGateway):
    with pytest.raises(TooManyPhotos):
        enrolled.forms_api.IdentifyFaces(form(*[("labels", b"x")] * 5000), CONTEXT)
