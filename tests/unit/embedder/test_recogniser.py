"""Recognisers over tiny networks: layouts, batches, normalisation, views."""

import dataclasses

import numpy as np
import pytest

from services.common.errors import InvalidRequest, ModelUnavailable
from services.common.faces import FaceCrop
from services.embedder.matching import Metric
from services.embedder.recognition import catalogue, recogniser
from services.embedder.recognition.alignment import Alignment, View
from services.embedder.recognition.catalogue import ModelSpec, Normalisation
from services.embedder.recognition.thresholds import Fixed
from tests.networks import channel_means, put_model

POINTS = ((3.0, 4.0), (7.0, 4.0), (5.0, 6.0), (3.5, 8.0), (6.5, 8.0))
ALIGNMENT = Alignment("tiny", 10, 12, POINTS)


def spec(**changes):
    return dataclasses.replace(ModelSpec("Tiny", ALIGNMENT, Normalisation("bgr"), 3, Fixed(1, 1, 1, "none")), **changes)


def load(folder, shape=("n", 12, 10, 3), axes=(1, 2), maker=0, **changes):
    model = put_model(folder, "Tiny", {"recogniser": channel_means(shape, axes)}, maker)
    return recogniser.load(spec(**changes), model, folder)


def crop(blue, green, red):
    pixels = np.empty((12, 10, 3), np.uint8)
    pixels[:] = (blue, green, red)
    return FaceCrop(pixels, np.array(POINTS, np.float32))


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        (("n", 12, 10, 3), (1, 2)),
        (("n", "h", "w", 3), (1, 2)),
        (("n", 3, 12, 10), (2, 3)),
        ((1, 3, 12, 10), (2, 3)),  # as SFace's file is
    ],
)
def test_layouts_and_batches(tmp_path, shape, axes):
    loaded = load(tmp_path, shape, axes)
    crops = [crop(10, 20, number) for number in range(19)]
    templates = loaded.embed(crops)
    assert templates.dtype == np.float32 and templates.shape == (19, 3)
    np.testing.assert_allclose(templates[:, :2], [[10, 20]] * 19, atol=0.1)
    np.testing.assert_allclose(templates[:, 2], range(19), atol=0.1)
    assert loaded.embed([]).shape == (0, 3)


def test_channel_order_mean_and_scale(tmp_path):
    loaded = load(tmp_path, normalisation=Normalisation("rgb", (30.0, 20.0, 5.0), 1 / 4))
    np.testing.assert_allclose(loaded.embed([crop(13, 24, 32)])[0], [0.5, 1.0, 2.0], atol=0.01)


def test_per_image_normalisation_is_facenets():
    pictures = np.random.default_rng(5).integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    values = recogniser.normalise(pictures, Normalisation("rgb", per_image=True))
    assert values.dtype == np.float32
    np.testing.assert_allclose(values.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(values.std(axis=(1, 2, 3)), 1, atol=1e-5)
    flat = recogniser.normalise(np.full((1, 8, 8, 3), 7, np.uint8), Normalisation(per_image=True))
    assert (flat == 0).all()


def test_views_are_averaged(tmp_path):
    face = crop(0, 0, 0)
    face.pixels[:, :5] = 200  # brighter at the left: views that are nearer or mirrored differ
    views = (View(1.0), View(0.5, mirrored=True))
    one = load(tmp_path).embed([face])[0]
    both = load(tmp_path, views=views)
    near = load(tmp_path, views=(View(0.5),)).embed([face])[0]
    np.testing.assert_allclose(both.embed([face])[0], (one + near) / 2, rtol=1e-3)
    assert spec(views=views).one_view() == spec()


def test_unit_length_where_the_record_says_so(tmp_path):
    template = load(tmp_path, unit_length=True).embed([crop(30, 40, 0)])[0]
    np.testing.assert_allclose(template, [0.6, 0.8, 0], atol=0.01)


def test_version_changes_with_everything_that_changes_templates(tmp_path):
    versions = [
        load(tmp_path).version,
        load(tmp_path, ("n", "h", "w", 3)).version,  # other file
        load(tmp_path, maker=1).version,
        load(tmp_path, alignment=dataclasses.replace(ALIGNMENT, stretch=1.1)).version,
        load(tmp_path, alignment=dataclasses.replace(ALIGNMENT, weights=(1, 1, 1, 0, 0))).version,
        load(tmp_path, normalisation=Normalisation("rgb")).version,
        load(tmp_path, unit_length=True).version,
        load(tmp_path, views=(View(1.1),)).version,
    ]
    assert len(set(versions)) == len(versions)
    assert load(tmp_path, thresholds=Fixed(2, 2, 2, "other")).version == versions[0]


def test_unusable_crops_and_networks(tmp_path):
    with pytest.raises(InvalidRequest):
        load(tmp_path).embed([FaceCrop(np.zeros((5, 5, 3), np.uint8), np.zeros((5, 2), np.float32))])
    with pytest.raises(ModelUnavailable, match="3"):
        load(tmp_path, dimension=128)
    with pytest.raises(ModelUnavailable, match="pictures"):
        load(tmp_path, ("n", 3), (1,))
    with pytest.raises(ModelUnavailable):  # takes other sizes than the record says
        load(tmp_path, ("n", 50, 50, 3))


@pytest.mark.parametrize("name", catalogue.names())
def test_records_are_whole(name):
    record = catalogue.find(name)
    assert record.dimension in (128, 160, 192, 512, 4096)
    assert record.normalisation.order in ("rgb", "bgr")
    assert min(record.thresholds.at(metric).distance for metric in Metric) > 0
    assert record.thresholds.source
    assert record.views[0].mirrored is False
