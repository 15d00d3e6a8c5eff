"""Failures that a caller should learn of, each with the gRPC status it becomes.

Domain code raises these and knows nothing of gRPC; the one interceptor (interceptor.py) turns them into statuses with
`google.rpc.ErrorInfo(reason, domain="reco")`.
"""


class RecoError(Exception):
    """A failure with a canonical status name (`grpc.StatusCode` member) and a machine-readable reason.

    Attributes:
        retry_after: seconds after which the request may be tried again, where trying again helps at all.
        field: the request's field that is at fault, as the protos name it; empty where none is.
    """

    status = "INTERNAL"
    reason = "INTERNAL"
    retry_after = 1
    field = ""

    @property
    def violations(self) -> tuple[tuple[str, str], ...]:
        """Each field that is at fault, and what is wrong with it."""
        return ((self.field, str(self)),) if self.field else ()


class InvalidImage(RecoError):
    """The bytes are not a picture in a format we read."""

    status = "INVALID_ARGUMENT"
    reason = "IMAGE_UNDECODABLE"


class ImageTooLarge(InvalidImage):
    """The picture has more pixels than the limit."""

    reason = "IMAGE_TOO_LARGE"


class InvalidRequest(RecoError):
    """A request field is missing or out of its range; the message names it."""

    status = "INVALID_ARGUMENT"
    reason = "INVALID_REQUEST"


class UnknownModel(InvalidRequest):
    """The name of a model that this service does not have."""

    reason = "MODEL_UNKNOWN"


class ModelUnavailable(RecoError):
    """A model's weights could not be had; the message says which file, from where, and where to put it by hand."""

    status = "FAILED_PRECONDITION"
    reason = "MODEL_UNAVAILABLE"


class Overloaded(RecoError):
    """The bounded queue is full; trying again later is right."""

    status = "RESOURCE_EXHAUSTED"
    reason = "OVERLOADED"


class DeadlineExceeded(RecoError):
    """The caller's deadline came before the work was done."""

    status = "DEADLINE_EXCEEDED"
    reason = "DEADLINE_EXCEEDED"


class Cancelled(RecoError):
    """The caller has gone: nobody waits for the answer."""

    status = "CANCELLED"
    reason = "CANCELLED"


class DatabaseUnavailable(RecoError):
    """The SQL database cannot be reached, or refuses."""

    status = "UNAVAILABLE"
    reason = "DATABASE_UNAVAILABLE"


class DatabaseRefused(RecoError):
    """The SQL database answered, and refused: no such table or column, a value too long, no right to write, disk full."""

    status = "FAILED_PRECONDITION"
    reason = "DATABASE_REFUSED"
