"""What the holder of a key may do: the table of docs/security.md."""

import re
from enum import StrEnum

_TYPED = "/reco.gateway.v1.GatewayService/"
_LEGACY = "/reco.gateway.v1.LegacyService/"
_PEOPLE = "/reco.gateway.v1.PeopleService/"
_FACES = "/reco.gateway.v1.FacesService/"
_INFO = "/reco.gateway.v1.InfoService/"


class Role(StrEnum):
    """Each may do all that the ones before it may."""

    VERIFY = "verify"
    ENROLL = "enroll"
    ADMIN = "admin"

    def may(self, needed: "Role") -> bool:
        """Whether it is that role or a higher one."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


#: Asked by whoever watches over the system, or wants to know how to ask it, and answered to all.
OPEN = frozenset(
    {
        "/healthz",
        "/readyz",
        "/reco.gateway.v1.ReadinessService/CheckReadiness",
        "/openapi.json",
        f"{_INFO}GetOpenApi",
        "/reco.gateway.v1.ConsoleService/GetFile",
    }
)

#: Exactly these paths, which are asked for by one method alone; whatever else there is, or comes to be, is for
#: administrators: erasing people, seeing their pictures, reflection.
ROLE_OF_PATH = {
    "/upload_imgs": Role.VERIFY,
    "/upload_imgs/": Role.VERIFY,
    "/verify": Role.VERIFY,
    "/verify/": Role.VERIFY,
    "/v1/people:verify": Role.VERIFY,
    f"{_LEGACY}UploadImgs": Role.VERIFY,
    f"{_LEGACY}Verify": Role.VERIFY,
    f"{_TYPED}UploadPhotos": Role.VERIFY,
    f"{_TYPED}VerifyPerson": Role.VERIFY,
    "/grpc.health.v1.Health/Check": Role.VERIFY,
    "/grpc.health.v1.Health/Watch": Role.VERIFY,
    f"{_FACES}DetectFaces": Role.VERIFY,
    f"{_FACES}CompareFaces": Role.VERIFY,
    f"{_FACES}IdentifyFaces": Role.VERIFY,
    f"{_FACES}VerifyFace": Role.VERIFY,
    f"{_INFO}GetInfo": Role.VERIFY,
    "/upload_db": Role.ENROLL,
    "/upload_db/": Role.ENROLL,
    "/v1/people:enroll": Role.ENROLL,
    f"{_LEGACY}UploadDb": Role.ENROLL,
    f"{_TYPED}EnrollPerson": Role.ENROLL,
    f"{_PEOPLE}ListPeople": Role.ENROLL,
    f"{_PEOPLE}GetPerson": Role.ENROLL,
    f"{_PEOPLE}CreatePerson": Role.ENROLL,
    f"{_PEOPLE}UpdatePerson": Role.ENROLL,
    f"{_PEOPLE}ListPhotos": Role.ENROLL,
    f"{_PEOPLE}GetPhoto": Role.ENROLL,
    f"{_PEOPLE}AddPhotos": Role.ENROLL,
}

#: Paths with a name in them, by method. A colon would begin a verb, and so might one that is written as `%3A`.
_NAME = "(?:[^/:%]|%(?!2[fF]|3[aA]))+"
ROLE_OF_PATTERN: tuple[tuple[str, re.Pattern[str], Role | None], ...] = (
    (
        "GET",
        re.compile(r"/(console/.*)?"),
        None,
    ),  # the console's pages; what they show needs the key of who looks at them
    ("GET", re.compile(r"/v1/info"), Role.VERIFY),
    ("POST", re.compile(r"/v1/uploads"), Role.VERIFY),
    ("POST", re.compile(r"/v1/faces:(detect|compare|identify)"), Role.VERIFY),
    ("POST", re.compile(rf"/v1/people/{_NAME}:verify"), Role.VERIFY),
    ("GET", re.compile(rf"/v1/people(/{_NAME}(/photos(/{_NAME})?)?)?"), Role.ENROLL),
    ("POST", re.compile(rf"/v1/people(/{_NAME}/photos)?"), Role.ENROLL),
    ("PATCH", re.compile(rf"/v1/people/{_NAME}"), Role.ENROLL),
)


def needed_role(method: str, path: str) -> Role | None:
    """The lowest role that may ask for a path; None where no key is needed.

    Args:
        method: of the HTTP request; gRPC's is POST.
        path: of the request as Envoy routes it, before JSON becomes gRPC; what follows a `?` does not count.
    """
    plain = path.partition("?")[0]
    if plain in OPEN:
        return None
    if plain in ROLE_OF_PATH:
        return ROLE_OF_PATH[plain]
    by_pattern = (role for asked, pattern, role in ROLE_OF_PATTERN if asked == method and pattern.fullmatch(plain))
    return next(by_pattern, Role.ADMIN)
