"""Requests to the REST contract: photos of the fakes in, answers as JSON out."""

from services.common.faces import Verdict
from tests.fakes import FakeFace, fake_photo
from tests.unit.gateway.fake_gateway import PERSON, Answer, FakeGateway

ANN, BOB = fake_photo("ann"), fake_photo("bob")
SPOOF = fake_photo(FakeFace("ann", verdict=Verdict.SPOOF))


def multipart(**files: bytes) -> bytes:
    """The body of an upload form."""
    head = '--x\r\nContent-Disposition: form-data; name="photo"; filename="{}.jpg"\r\n\r\n'
    return b"".join(head.format(name).encode() + data + b"\r\n" for name, data in files.items()) + b"--x--\r\n"


def code_of(answer: Answer) -> int:
    """The numeric code of an answer, whichever endpoint's."""
    (code,) = (value for key, value in answer.items() if key.endswith("_code"))
    assert isinstance(code, int)
    return code


def upload(gateway: FakeGateway, *photos: bytes, person: str = PERSON) -> Answer:
    return gateway.upload_imgs(person, multipart(**{f"p{number}": photo for number, photo in enumerate(photos)}))


def enroll(gateway: FakeGateway, *photos: bytes, person: str = PERSON, **fields: str) -> Answer:
    return gateway.upload_db(gateway.upload(*photos, person=person), **fields)


def verify(gateway: FakeGateway, *photos: bytes, person: str = PERSON, **fields: str) -> Answer:
    return gateway.verify_rest(gateway.upload(*photos, person=person), **fields)


def enrolled(gateway: FakeGateway) -> FakeGateway:
    """Ann and Bob, without augmented photos, so that one photo is one pair."""
    gateway.set_env(num_aug=0)
    gateway.enroll(ANN)
    gateway.enroll(BOB, person="RECO_ID_2", name="Bob Ray")
    return gateway
