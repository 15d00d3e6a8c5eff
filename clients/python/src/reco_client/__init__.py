"""Client of RECO, the self-hosted face recognition service."""

from . import answers
from .async_client import AsyncClient
from .client import Client
from .enrolling import Enrolled
from .errors import Conflict, InvalidRequest, Limited, NotAllowed, NotFound, RecoError, TooLarge, Unavailable
from .pictures import Picture
from .sending import Retries

__all__ = [
    "AsyncClient",
    "Client",
    "Conflict",
    "Enrolled",
    "InvalidRequest",
    "Limited",
    "NotAllowed",
    "NotFound",
    "Picture",
    "RecoError",
    "Retries",
    "TooLarge",
    "Unavailable",
    "answers",
]
