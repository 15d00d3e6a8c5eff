"""Boxes and views of reco.types.v1 to domain types and back."""

import math
from collections.abc import Sequence

from reco.types.v1 import face_pb2

from services.common.errors import InvalidRequest
from services.common.faces import Box, View

#: In which a face is shown, at most.
MAX_VIEWS = 8


def to_box(proto: face_pb2.Box) -> Box:
    """Raises InvalidRequest where a side is not positive or a number not finite."""
    values = (proto.x, proto.y, proto.width, proto.height)
    if not all(map(math.isfinite, values)) or proto.width <= 0 or proto.height <= 0:
        raise InvalidRequest("a box needs finite x and y, and width and height above 0")
    return Box(*values)


def from_box(box: Box) -> face_pb2.Box:
    """The other way."""
    return face_pb2.Box(x=box.x, y=box.y, width=box.width, height=box.height)


def to_views(protos: Sequence[face_pb2.View]) -> tuple[View, ...]:
    """Raises InvalidRequest where there are too many, or a number is out of its range."""
    views = tuple(map(to_view, protos))
    fit = all(1 <= view.scale <= 8 and 16 <= view.side <= 512 and view.face_px >= 1 for view in views)
    if len(views) > MAX_VIEWS or not fit:
        raise InvalidRequest(f"views: {MAX_VIEWS} at most; scale 1 to 8, side 16 to 512 and face_px from 1 on fit")
    return views


def to_view(proto: face_pb2.View) -> View:
    """As it says."""
    return View(proto.scale, proto.side, proto.face_px)


def from_view(view: View) -> face_pb2.View:
    """The other way."""
    return face_pb2.View(scale=view.scale, side=view.side, face_px=view.face_px)
