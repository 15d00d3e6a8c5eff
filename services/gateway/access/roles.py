"""What the holder of a key may do: the table of docs/security.md."""

from enum import StrEnum

_TYPED = "/reco.gateway.v1.GatewayService/"
_LEGACY = "/reco.gateway.v1.LegacyService/"


class Role(StrEnum):
    """Each may do all that the ones before it may."""

    VERIFY = "verify"
    ENROLL = "enroll"
    ADMIN = "admin"

    def may(self, needed: "Role") -> bool:
        """Whether it is that role or a higher one."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


#: Asked by whoever watches over the system, and answered to all.
OPEN = frozenset({"/healthz", "/readyz", "/reco.gateway.v1.ReadinessService/CheckReadiness"})

#: Exactly these paths; whatever else there is, or comes to be, is for administrators: erasing people, reflection.
ROLE_OF_PATH = {
    "/upload_imgs": Role.VERIFY,
    "/upload_imgs/": Role.VERIFY,
    "/verify": Role.VERIFY,
    "/verify/": Role.VERIFY,
    "/v1/uploads": Role.VERIFY,
    "/v1/people:verify": Role.VERIFY,
    f"{_LEGACY}UploadImgs": Role.VERIFY,
    f"{_LEGACY}Verify": Role.VERIFY,
    f"{_TYPED}UploadPhotos": Role.VERIFY,
    f"{_TYPED}VerifyPerson": Role.VERIFY,
    "/grpc.health.v1.Health/Check": Role.VERIFY,
    "/grpc.health.v1.Health/Watch": Role.VERIFY,
    "/upload_db": Role.ENROLL,
    "/upload_db/": Role.ENROLL,
    "/v1/people:enroll": Role.ENROLL,
    f"{_LEGACY}UploadDb": Role.ENROLL,
    f"{_TYPED}EnrollPerson": Role.ENROLL,
}


def needed_role(path: str) -> Role | None:
    """The lowest role that may ask for a path; None where no key is needed.

    Args:
        path: of the request as Envoy routes it, before JSON becomes gRPC; what follows a `?` does not count.
    """
    plain = path.partition("?")[0]
    return None if plain in OPEN else ROLE_OF_PATH.get(plain, Role.ADMIN)
