"""Faces that are judged without their photo, by the views that the model wants: as in the photo itself."""

from types import SimpleNamespace
from typing import cast

import cv2
import numpy as np
import pytest
from reco.liveness.v1 import liveness_pb2 as pb
from reco.types.v1 import face_pb2, results_pb2

from services.common.convert import from_view
from services.common.errors import InvalidImage, InvalidRequest
from services.common.faces import Box, View
from services.common.workers import Workers
from services.images.decode import ReducedPhoto, decode
from services.images.views import halved, show, shrink_for
from services.liveness.fusion import FacePluginLiveness, FusedModels
from services.liveness.minifasnet import MiniFasNet
from services.liveness.model import LivenessModels
from services.liveness.servicer import LivenessServicer
from tests.unit.liveness.test_minifasnet import Network

PHOTO = cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (700, 900, 3), np.uint8))[1].tobytes()
BOXES = [Box(300, 200, 250, 260), Box(500, 100, 290, 250), Box(-250, 0, 400, 250)]
MODEL = FusedModels([MiniFasNet({2.7: Network(), 4.0: Network()}, "1"), FacePluginLiveness({2.7: Network()}, "1")])


def servicer(model: object = MODEL) -> LivenessServicer:
    return LivenessServicer(cast(LivenessModels, SimpleNamespace(current=lambda: model)), Workers(1))


def shown(views: tuple[View, ...] = MODEL.views) -> pb.CheckLivenessRequest:
    """The boxes' faces in these views, without the photo."""
    photo = halved(ReducedPhoto(decode(PHOTO), 1, 900, 700), shrink_for(BOXES, 120))
    faces = [[show(photo.pixels, box.scaled(1 / photo.factor), view).tobytes() for view in views] for box in BOXES]
    return pb.CheckLivenessRequest(
        boxes=[face_pb2.Box(x=box.x, y=box.y, width=box.width, height=box.height) for box in BOXES],
        image_size=face_pb2.ImageSize(width=900, height=700),
        views=map(from_view, views),
        faces=[pb.FaceViews(views=face) for face in faces],
    )


def test_is_judged_as_in_the_photo():
    in_photo = pb.CheckLivenessRequest(image=PHOTO, boxes=shown().boxes)
    answer = servicer().CheckLiveness(shown(), None)
    assert answer == servicer().CheckLiveness(in_photo, None)
    undecidable = results_pb2.FaceLiveness.VERDICT_UNDECIDABLE
    assert [face.verdict == undecidable for face in answer.faces] == [False, False, True]
    assert list(answer.views) == [
        from_view(view) for view in (View(2.7, 80, 120), View(4.0, 80, 120), View(2.7, 128, 120))
    ]


def test_says_which_views_it_wants_where_it_is_shown_others():
    model = MiniFasNet({2.7: Network()}, "1")
    request = shown()
    answer = servicer(model).CheckLiveness(request, None)
    assert not answer.faces and list(answer.views) == [from_view(view) for view in model.views]
    request.image = PHOTO
    assert len(servicer(model).CheckLiveness(request, None).faces) == 3


def test_without_views_the_photo_is_needed():
    with pytest.raises(InvalidImage):
        servicer().CheckLiveness(pb.CheckLivenessRequest(boxes=shown().boxes), None)


@pytest.mark.parametrize("spoil", ["a face", "a view", "pixels", "the size"])
def test_refuses_faces_that_are_not_shown_whole(spoil: str):
    request = shown()
    if spoil == "a face":
        del request.faces[0]
    elif spoil == "a view":
        del request.faces[0].views[0]
    elif spoil == "pixels":
        request.faces[1].views[2] = request.faces[1].views[2][:-1]
    else:
        request.ClearField("image_size")
    with pytest.raises(InvalidRequest, match="image_size" if spoil == "the size" else "faces"):
        servicer().CheckLiveness(request, None)


@pytest.mark.parametrize("side", [0, -80, 1 << 20])
def test_refuses_views_of_no_size(side: int):
    request = shown()
    for view in request.views:
        view.side = side
    for face in request.faces:
        face.views[:] = [b""] * len(face.views)
    with pytest.raises(InvalidRequest, match="views"):
        servicer().CheckLiveness(request, None)
