"""Thresholds by false match rate, in 1:1 and in searches, and those fitted for a site."""

import dataclasses
import json
import math

import numpy as np
import pytest

from services.embedder.gallery.changes import Revision
from services.embedder.gallery.population import Population
from services.embedder.matching import Metric
from services.embedder.recognition import catalogue
from services.embedder.recognition.calibration import Scores, TooLittle, calibrated, fit, read, write
from services.embedder.recognition.rates import Rates
from services.embedder.recognition.registry import Recognisers
from services.embedder.recognition.thresholds import RATES, Curve, Fixed

CURVE = Curve((0.8, 0.6, 0.5, 0.4, 0.3), (1.6, 1.2, 1.0, 0.8, 0.6), (0.0, 0.01, 0.02, 0.05, 0.2), "made up")


@pytest.mark.parametrize("metric", Metric)
def test_measured_rates_have_their_thresholds_and_back(metric: Metric):
    for rate, cosine, euclidean, fnmr in zip(RATES, CURVE.cosine, CURVE.euclidean, CURVE.fnmr, strict=True):
        expected = {"cosine": cosine, "euclidean": euclidean, "euclidean_l2": math.sqrt(2 * cosine)}[metric]
        found = CURVE.at(metric, rate)
        assert (found.distance, found.fmr, found.fnmr) == pytest.approx((expected, rate, fnmr))
        assert CURVE.fmr_at(metric, found.distance) == pytest.approx(rate)


def test_between_and_beyond_the_measured_rates_the_threshold_follows_the_logarithm():
    assert CURVE.at(Metric.COSINE, 10**-3.5).distance == pytest.approx(0.45)
    assert CURVE.at(Metric.COSINE, 1e-6).distance == pytest.approx(0.2)
    assert CURVE.fmr_at(Metric.COSINE, 0.25) == pytest.approx(10**-5.5)


@pytest.mark.parametrize(("distance", "rate"), [(0.0, 1e-7), (2.0, 1.0)])
def test_rates_stay_within_bounds(distance: float, rate: float):
    assert CURVE.fmr_at(Metric.COSINE, distance) == rate


def test_no_threshold_is_zero():
    steep = dataclasses.replace(CURVE, cosine=(0.8, 0.6, 0.4, 0.2, 0.1))
    assert steep.at(Metric.COSINE, 1e-7).distance > 0


def test_a_model_that_refuses_too_many_is_used_at_a_higher_rate():
    assert CURVE.at(Metric.COSINE).fmr == 1e-4
    for fnmr in ((0, 0, 0.02, 0.11, 0.2), (0, 0.2, 0.3, 0.4, 0.5)):
        assert dataclasses.replace(CURVE, fnmr=fnmr).at(Metric.COSINE).fmr == 1e-3


@pytest.mark.parametrize(("name", "fmr"), [("MobileFaceNet", 1e-4), ("FacePlugin", 1e-4), ("Dlib", 1e-3)])
def test_what_the_models_are_used_at(name: str, fmr: float):
    assert catalogue.find(name).thresholds.at(Metric.COSINE).fmr == fmr


def test_thresholds_that_nobody_measured_stand_for_no_rate():
    fixed = Fixed(0.4, 1.0, 0.9, "somebody")
    assert fixed.at(Metric.EUCLIDEAN, 1e-5).distance == 1.0
    assert fixed.at(Metric.COSINE).fmr is fixed.fmr_at(Metric.COSINE, 0.1) is None


def recognisers(rates: Rates, thresholds: Curve | Fixed = CURVE) -> Recognisers:
    spec = dataclasses.replace(catalogue.find("Dlib"), thresholds=thresholds)

    def load(name: str):
        raise AssertionError(f"{name} is not needed")

    return Recognisers(lambda name: spec, load, rates)


@pytest.mark.parametrize(("people", "rate"), [(0, 1e-4), (1, 1e-4), (100, 1e-4), (1000, 1e-5), (10_000, 1e-6)])
def test_a_search_asks_for_more_the_more_people_there_are(people: int, rate: float):
    found = recognisers(Rates()).search_criterion("Dlib", Metric.COSINE, people)
    assert found.fmr == pytest.approx(rate)
    assert found.threshold == pytest.approx(CURVE.at(Metric.COSINE, rate).distance)


def test_the_rate_of_the_setting_holds_for_both():
    strict = recognisers(Rates(fmr=1e-5, fpir=0.05))
    assert strict.criterion("Dlib", Metric.COSINE).fmr == 1e-5
    assert strict.search_criterion("Dlib", Metric.COSINE, 100).fmr == 1e-5
    assert strict.search_criterion("Dlib", Metric.COSINE, 50_000).fmr == pytest.approx(1e-6)


def test_a_search_by_a_model_that_nobody_measured_keeps_its_threshold():
    assert recognisers(Rates(), Fixed(0.4, 1, 1, "")).search_criterion("Dlib", Metric.COSINE, 10**6).threshold == 0.4


@pytest.mark.parametrize("value", ["one", "0", "-1", "nan", "0.5", "1e-9"])
def test_rates_that_are_none_are_named(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv("RECO_FMR", value)
    with pytest.raises(SystemExit, match="RECO_FMR"):
        Rates.from_environment()


def test_rates_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    assert Rates.from_environment() == Rates(None, 0.01)
    monkeypatch.setenv("RECO_FMR", "1e-3")
    monkeypatch.setenv("RECO_FPIR", "0.1")
    assert Rates.from_environment() == Rates(1e-3, 0.1)


class FakeGallery:
    """Counts how often people were counted."""

    def __init__(self):
        self.people, self.number, self.epoch, self.counted = 0, 0, 1, 0

    def revision(self) -> Revision:
        return Revision(self.epoch, self.number)

    def count_people(self) -> int:
        self.counted += 1
        return self.people


def test_people_are_counted_anew_after_a_tenth_of_them_changed():
    gallery = FakeGallery()
    population = Population(gallery)
    for people in range(200):
        gallery.people, gallery.number = people, people
        assert people * 0.9 - 1 <= population.count() <= people
    assert gallery.counted < 60
    gallery.people, gallery.epoch = 0, 2
    assert population.count() == 0


def scores(shift: float, people: int = 20, photos: int = 5) -> Scores:
    """As if drawn from CURVE's model, all impostors nearer by a share."""
    rng = np.random.default_rng(1)
    impostor = (1 + 0.1 * rng.normal(size=people * (people - 1) // 2 * photos**2)) * shift
    return Scores(0.1 * np.abs(rng.normal(size=people * photos)), impostor)


def test_a_site_whose_people_are_confused_gets_stricter_thresholds():
    done = fit(CURVE, scores(0.6), scores(1.2), people=20, source="here")
    assert done.lowest_measured == 1e-2  # one of 190 pairs of people in a hundred; the rest is reckoned
    assert done.curve.cosine[1] == pytest.approx(np.quantile(scores(0.6).impostor, 0.01), abs=1e-3)
    share = done.curve.cosine[1] / CURVE.cosine[1]
    assert done.curve.cosine[2:] == pytest.approx([share * one for one in CURVE.cosine[2:]])
    assert all(more > less for more, less in zip(done.curve.cosine, done.curve.cosine[1:], strict=False))
    assert done.curve.at(Metric.COSINE).distance < CURVE.at(Metric.COSINE).distance


def test_what_was_not_measured_is_never_laxer_than_as_shipped():
    done = fit(CURVE, scores(1.5), scores(3.0), people=20, source="here")
    assert done.curve.cosine[1] > CURVE.cosine[1]  # measured
    assert done.curve.cosine[2:] == CURVE.cosine[2:]


def test_too_few_people_are_said_to_be_so():
    with pytest.raises(TooLittle, match="4 people"):
        fit(CURVE, scores(1, people=4), scores(1, people=4), people=4, source="here")


def test_a_gallery_of_one_photo_a_person_keeps_the_shipped_misses():
    done = fit(CURVE, dataclasses.replace(scores(0.6), genuine=np.zeros(0)), scores(1.2), 20, "here")
    assert done.curve.fnmr == CURVE.fnmr


def test_thresholds_of_a_site_are_kept_and_used(tmp_path):
    file = tmp_path / "var" / "calibration.json"
    assert read(file) == {}
    write(file, {"Dlib": CURVE})
    write(file, {"FacePlugin": CURVE})
    assert read(file) == {"Dlib": CURVE, "FacePlugin": CURVE}
    find = calibrated(catalogue.find, read(file))
    assert find("dlib").thresholds == CURVE
    assert find("MobileFaceNet") == catalogue.find("MobileFaceNet")


def wrong(last: float) -> str:
    """A file whose last cosine threshold is this one."""
    curve = {"cosine": [5, 4, 3, 2, last], "euclidean": [5, 4, 3, 2, 1], "fnmr": [0] * 5, "source": ""}
    return json.dumps({"Dlib": curve})


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"Dlib": {}}', '{"Dlib": 1}', wrong(2), wrong(-1), wrong(math.nan), wrong(math.inf)]
)
def test_a_file_that_holds_no_thresholds_is_named(tmp_path, text: str):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(ValueError, match=r"c\.json"):
        read(tmp_path / "c.json")
