"""The embedder's RPCs over a real gRPC server, on a real database, with made-up networks."""

from contextlib import contextmanager
from functools import partial

import grpc
import pytest
from reco.embedder.v1 import embedder_pb2 as pb
from reco.embedder.v1 import embedder_pb2_grpc
from reco.types.v1 import face_pb2
from sqlalchemy import make_url

from services.common.database import open_engine
from services.common.server import Server, ServerOptions
from services.detector.servicer import from_crop
from services.embedder.gallery.store import Gallery
from services.embedder.model import Embedder
from services.embedder.search.follow import LocalIndexes
from services.embedder.search.milvus.collections import CollectionTable
from services.embedder.servicer import EmbedderServicer
from services.gateway.stages.channels import reason_of
from tests.fakes import FakeRecogniser, fake_crop, fake_recognisers
from tests.indexes import new_exact_index

NAME = "reco.embedder.v1.EmbedderService"
COSINE = pb.DISTANCE_COSINE


@contextmanager
def serving(url, milvus, *recognisers):
    """`milvus`: keeps the search index; None: the embedder itself does."""
    engine = open_engine(make_url(url))
    gallery = Gallery(lambda: engine)
    indexes = shared(gallery, milvus) if milvus else LocalIndexes(gallery, new_exact_index)
    servicer = EmbedderServicer(Embedder(fake_recognisers(*recognisers), gallery, indexes))

    def add(server):
        embedder_pb2_grpc.add_EmbedderServiceServicer_to_server(servicer, server)

    server = Server(ServerOptions("127.0.0.1:0", threads=4), {NAME: add})
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield embedder_pb2_grpc.EmbedderServiceStub(channel)
    server.stop(0)
    engine.dispose()


def shared(gallery, milvus):
    from services.embedder.search.milvus.shared import SharedIndexes

    return SharedIndexes(gallery, CollectionTable(gallery, "here"), milvus)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/embedder.db"


@pytest.fixture
def dlib():
    return FakeRecogniser("Dlib")


@pytest.fixture(params=["in-process", "milvus"])
def serve(request, url):
    """Serves an embedder with these recognisers; all on one database, and if it has one on one Milvus."""
    return partial(serving, url, request.getfixturevalue("milvus_file") if request.param == "milvus" else None)


@pytest.fixture
def embedder(serve, dlib):
    with serve(dlib, FakeRecogniser("ArcFace", dimension=16)) as stub:
        yield stub


def crop(identity, shot=0):
    return from_crop(fake_crop(identity, shot))


def probe(identity, shot=0):
    return pb.Probe(crop=crop(identity, shot))


def photo(photo_id, identity, shot=0, augmented=False):
    return pb.GalleryPhoto(photo_id=photo_id, augmented=augmented, crop=crop(identity, shot))


def enroll(embedder, person_id, *photos, models=("Dlib",), keep=()):
    request = pb.EnrollFacesRequest(person_id=person_id, models=models, photos=photos, keep_photo_ids=keep)
    return embedder.EnrollFaces(request).stored_photos


def verify(embedder, person_id, probes, augmented=(), **fields):
    values = {"models": ["Dlib"], "distance": COSINE, "min_pairs": 1, "min_augmented_pairs": 1} | fields
    request = pb.VerifyFacesRequest(person_id=person_id, probes=probes, augmented_probes=augmented, **values)
    return embedder.VerifyFaces(request)


def identify(embedder, *probes, models=("Dlib",), distance=COSINE):
    request = pb.IdentifyFacesRequest(models=models, distance=distance, probes=probes)
    return [match.person_id for match in embedder.IdentifyFaces(request).matches]


def compare(embedder, probes, others, models=("Dlib",), **strictness):
    request = pb.CompareFacesRequest(
        models=models, distance=COSINE, probes=probes, others=others, strictness=pb.Strictness(**strictness)
    )
    return embedder.CompareFaces(request).pairs


def ranked(embedder, *probes, top_k, models=("Dlib",), **strictness):
    """By probe, who it may be."""
    request = pb.IdentifyFacesRequest(
        models=models, distance=COSINE, probes=probes, top_k=top_k, strictness=pb.Strictness(**strictness)
    )
    return embedder.IdentifyFaces(request)


def refused(call, *args, **kwargs):
    with pytest.raises(grpc.RpcError) as caught:
        call(*args, **kwargs)
    return caught.value.code(), reason_of(caught.value)


def test_templates_of_faces_in_the_order_asked(embedder, dlib):
    request = pb.EmbedFacesRequest(models=["ArcFace", "Dlib"], faces=[crop(1), crop(2, 3)])
    faces = embedder.EmbedFaces(request).faces
    assert [[one.model for one in face.templates] for face in faces] == [["ArcFace", "Dlib"]] * 2
    assert faces[0].templates[0].model_version == "1"
    assert len(faces[0].templates[0].vector) == 16
    assert list(faces[1].templates[1].vector) == dlib.template(2, 3).tolist()


def test_known_templates_are_not_made_again(embedder, dlib):
    face = embedder.EmbedFaces(pb.EmbedFacesRequest(models=["Dlib"], faces=[crop(1)])).faces[0]
    dlib.embedded = 0
    known = pb.GalleryPhoto(photo_id="1.png", templates=face.templates)
    assert enroll(embedder, "anna", known) == 1
    assert identify(embedder, pb.Probe(templates=face.templates)) == ["anna"]
    assert dlib.embedded == 0
    stale = pb.Probe(crop=crop(1), templates=[pb.Template(model="Dlib", model_version="0", vector=[1] * 32)])
    assert identify(embedder, stale) == ["anna"]
    assert dlib.embedded == 1


def test_enrolled_verified_identified_removed(embedder):
    assert enroll(embedder, "anna", photo("1.png", 1, 1), photo("2.png", 1, 2)) == 2
    assert enroll(embedder, "bob", photo("1.png", 2, 1)) == 1
    assert identify(embedder, probe(1), probe(2), probe(3), probe(1, 9)) in (["anna", "bob"], ["bob", "anna"])
    answer = verify(embedder, "anna", [probe(1)], min_pairs=2)
    assert answer.verified
    assert answer.matching_pairs == 2
    assert answer.best.person_id == "anna"
    assert answer.best.distance <= answer.best.threshold == pytest.approx(0.3)
    assert not verify(embedder, "bob", [probe(1)]).verified
    assert embedder.RemovePerson(pb.RemovePersonRequest(person_id="anna")).removed_photos == 2
    assert embedder.RemovePerson(pb.RemovePersonRequest(person_id="anna")).removed_photos == 0
    assert identify(embedder, probe(1)) == []
    nobody = verify(embedder, "anna", [probe(1)])
    assert not nobody.verified
    assert not nobody.HasField("best")


@pytest.mark.parametrize("distance", [pb.DISTANCE_COSINE, pb.DISTANCE_EUCLIDEAN, pb.DISTANCE_EUCLIDEAN_L2])
def test_every_distance(embedder, distance):
    enroll(embedder, "anna", photo("1.png", 1, 1))
    enroll(embedder, "bob", photo("1.png", 2, 1))
    assert identify(embedder, probe(2, 5), distance=distance) == ["bob"]
    assert verify(embedder, "bob", [probe(2, 5)], distance=distance).verified
    assert not verify(embedder, "bob", [probe(1, 5)], distance=distance).verified


def test_photos_kept_and_forgotten(embedder):
    enroll(embedder, "anna", photo("1.png", 1, 1), photo("2.png", 1, 2))
    assert enroll(embedder, "anna", photo("3.png", 1, 3), keep=["2.png"]) == 2
    assert verify(embedder, "anna", [probe(1)]).matching_pairs == 2


def test_real_probes_count_against_real_photos_and_augmented_ones_against_all(embedder, dlib):
    enroll(embedder, "anna", photo("1.png", 1, 1), photo("2.png", 1, 2, augmented=True))
    dlib.embedded = 0
    answer = verify(embedder, "anna", [probe(1)], [probe(1, 5), probe(1, 6)])
    assert (answer.verified, answer.matching_pairs, answer.matching_augmented_pairs) == (True, 1, 0)
    assert dlib.embedded == 1  # the augmented probes were not needed
    probes, augmented = [probe(1), probe(2), probe(3)], [probe(1, 5), probe(1, 6), probe(3)]
    answer = verify(embedder, "anna", probes, augmented, min_pairs=2, min_augmented_pairs=4)
    assert (answer.verified, answer.matching_pairs, answer.matching_augmented_pairs) == (True, 1, 4)
    assert not verify(embedder, "anna", probes, augmented, min_pairs=2, min_augmented_pairs=5).verified


def test_counts_run_on_over_the_models(embedder):
    enroll(embedder, "anna", photo("1.png", 1, 1), models=("Dlib", "ArcFace"))
    answer = verify(embedder, "anna", [probe(1), probe(2)], models=["Dlib", "ArcFace"], min_pairs=2)
    assert (answer.verified, answer.matching_pairs) == (True, 2)


def test_a_model_that_is_new_asks_for_enrollment(embedder):
    enroll(embedder, "anna", photo("1.png", 1))
    request = pb.FindUnenrolledRequest(person_ids=["anna", "bob"], models=["Dlib"])
    assert list(embedder.FindUnenrolled(request).person_ids) == ["bob"]
    request.models.append("ArcFace")
    assert list(embedder.FindUnenrolled(request).person_ids) == ["anna", "bob"]
    enroll(embedder, "anna", photo("1.png", 1), models=("Dlib", "ArcFace"))
    assert list(embedder.FindUnenrolled(request).person_ids) == ["bob"]


def test_verifying_gives_the_templates_that_it_made_and_says_who_lacks_any(embedder, dlib):
    assert verify(embedder, "anna", [probe(1)]).unenrolled
    enroll(embedder, "anna", photo("1.png", 1))
    answer = verify(embedder, "anna", [probe(1), probe(2, 3)])
    assert answer.verified and not answer.unenrolled
    assert [list(face.templates[0].vector) for face in answer.probes] == [
        dlib.template(1).tolist(),
        dlib.template(2, 3).tolist(),
    ]
    known = verify(embedder, "anna", [pb.Probe(templates=face.templates) for face in answer.probes])
    assert not known.probes and known.best == answer.best
    both = verify(embedder, "anna", [probe(1)], models=["Dlib", "ArcFace"])
    assert both.verified and both.unenrolled
    assert [one.model for one in both.probes[0].templates] == ["Dlib", "ArcFace"]


def test_several_people_are_enrolled_together_or_none_of_them(embedder):
    def request(*people):
        return pb.EnrollPeopleRequest(
            people=[pb.EnrollFacesRequest(person_id=who, models=["Dlib"], photos=photos) for who, photos in people]
        )

    good = ("anna", [photo("1.png", 1), photo("2.png", 1, shot=2)]), ("bob", [photo("1.png", 2)])
    assert [one.stored_photos for one in embedder.EnrollPeople(request(*good)).people] == [2, 1]
    assert identify(embedder, probe(2)) == ["bob"]
    for bad in (
        [("carl", [photo("1.png", 3)]), ("", [photo("1.png", 4)])],
        [("carl", [photo("1.png", 3)]), ("carl", [photo("2.png", 3)])],
        [("carl", [photo("1.png", 3)]), ("dora", [photo("1.png", 4), photo("1.png", 4)])],
        [("carl", [photo("1.png", 3)])] * 1001,
    ):
        with pytest.raises(grpc.RpcError) as refused:
            embedder.EnrollPeople(request(*bad))
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert identify(embedder, probe(3)) == []


def test_templates_of_another_model_are_added_and_dropped(embedder):
    enroll(embedder, "anna", photo("1.png", 1))
    request = pb.EnrollFacesRequest(person_id="anna", models=["ArcFace"], photos=[photo("1.png", 1)])
    request.keep_other_models = True
    assert embedder.EnrollFaces(request).stored_photos == 1
    both = pb.FindUnenrolledRequest(person_ids=["anna"], models=["Dlib", "ArcFace"])
    assert list(embedder.FindUnenrolled(both).person_ids) == []
    assert embedder.DropTemplates(pb.DropTemplatesRequest(keep_models=["ArcFace"])).dropped_templates == 1
    assert list(embedder.FindUnenrolled(both).person_ids) == ["anna"]
    assert verify(embedder, "anna", [probe(1)], models=("ArcFace",)).verified
    assert not verify(embedder, "anna", [probe(1)]).verified


def test_only_templates_of_one_version_are_compared(serve, embedder):
    enroll(embedder, "anna", photo("1.png", 1))
    with serve(FakeRecogniser("Dlib", version="2")) as newer:
        assert identify(newer, probe(1)) == []
        assert not verify(newer, "anna", [probe(1)]).verified
        request = pb.FindUnenrolledRequest(person_ids=["anna"], models=["Dlib"])
        assert list(newer.FindUnenrolled(request).person_ids) == ["anna"]
        enroll(newer, "anna", photo("1.png", 1))
        assert identify(newer, probe(1)) == ["anna"]


def test_two_embedders_on_one_database_follow_each_other(serve, embedder):
    with serve(FakeRecogniser("Dlib")) as other:
        assert identify(other, probe(1)) == identify(embedder, probe(1)) == []
        enroll(embedder, "anna", photo("1.png", 1, 1))
        assert identify(other, probe(1)) == ["anna"]
        enroll(other, "anna", photo("2.png", 2, 1))
        assert identify(embedder, probe(1)) == []
        assert identify(embedder, probe(2)) == ["anna"]
        enroll(other, "bob", photo("1.png", 1, 1))
        assert embedder.DropTemplates(pb.DropTemplatesRequest()).dropped_templates == 2
        assert identify(other, probe(1), probe(2)) == identify(embedder, probe(1), probe(2)) == []
        enroll(embedder, "carl", photo("1.png", 3))
        assert identify(other, probe(3)) == ["carl"]


def test_rebuilding_says_how_much_there_is(embedder):
    enroll(embedder, "anna", photo("1.png", 1), photo("2.png", 1), models=("Dlib", "ArcFace"))
    enroll(embedder, "bob", photo("1.png", 2))
    indexes = embedder.RebuildIndex(pb.RebuildIndexRequest(models=["Dlib", "ArcFace"])).indexes
    assert [(one.model, one.templates) for one in indexes] == [("Dlib", 3), ("ArcFace", 2)]


def test_so_many_people_of_each_face_best_first(embedder):
    for identity, person_id in enumerate(("anna", "bob", "carl"), start=1):
        enroll(embedder, person_id, photo("1.png", identity, 1), photo("2.png", identity, 2))
    found = ranked(embedder, probe(2, 3), probe(9), probe(1, 3), top_k=2, threshold=2)
    assert [match.probe for match in found.matches] == [0, 0, 1, 1, 2, 2]
    first, second, *_, third, fourth = found.matches
    assert (first.person_id, third.person_id) == ("bob", "anna")
    assert first.distance < second.distance and third.distance < fourth.distance
    assert first.similarity > 50 > second.similarity
    assert [match.person_id for match in ranked(embedder, probe(2, 3), probe(9), top_k=2).matches] == ["bob"]


def test_a_threshold_or_a_rate_of_ones_own(embedder):
    enroll(embedder, "anna", photo("1.png", 1, 1))
    near = verify(embedder, "anna", [probe(1, 2)]).best.distance
    for threshold, verified in ((near * 1.01, True), (near * 0.99, False)):
        answer = verify(embedder, "anna", [probe(1, 2)], strictness=pb.Strictness(threshold=threshold))
        assert (answer.verified, answer.best.threshold) == (verified, pytest.approx(threshold))
        found = ranked(embedder, probe(1, 2), top_k=1, threshold=threshold)
        assert [match.person_id for match in found.matches] == ["anna"] * verified
        assert found.thresholds[0].threshold == pytest.approx(threshold)
        assert compare(embedder, [probe(1, 2)], [probe(1, 1)], threshold=threshold)[0].matches is verified
    answer = verify(embedder, "anna", [probe(1, 2)], strictness=pb.Strictness(max_fmr=1e-2))
    assert (answer.best.threshold, answer.best.fmr) == pytest.approx((0.45, 1e-2))
    both = ranked(embedder, probe(1, 2), top_k=1, models=("Dlib", "ArcFace"), max_fmr=1e-3).thresholds
    assert [(one.model, one.threshold, one.fmr) for one in both] == [
        (model, pytest.approx(0.375), pytest.approx(1e-3)) for model in ("Dlib", "ArcFace")
    ]
    assert verify(embedder, "anna", [probe(1, 2)]).best.threshold == pytest.approx(0.3), "nothing of it stays"


def test_faces_are_compared_pair_by_pair(embedder):
    pairs = compare(embedder, [probe(1), probe(2)], [probe(2, 5), probe(1, 5), probe(2)])
    assert [(pair.probe, pair.other, pair.matches) for pair in pairs] == [
        (0, 0, False), (0, 1, True), (0, 2, False), (1, 0, True), (1, 1, False), (1, 2, True),
    ]  # fmt: skip
    same = pairs[-1]
    assert (same.distance, same.similarity) == pytest.approx((0, 100), abs=1e-3)
    assert all(pair.fmr > 1e-4 for pair in pairs if not pair.matches) and same.fmr < pairs[3].fmr < 1e-4
    assert identify(embedder, probe(1)) == [], "nobody is enrolled by it"


def test_of_several_models_each_pair_is_told_by_the_one_that_sees_it_nearest(embedder):
    pairs = [compare(embedder, [probe(1)], [probe(1, 5)], models=models) for models in (["Dlib"], ["ArcFace"])]
    nearest = min((one for (one,) in pairs), key=lambda one: one.distance)
    assert compare(embedder, [probe(1)], [probe(1, 5)], models=["Dlib", "ArcFace"]) == [nearest]


def similar(embedder, *person_ids, models=("Dlib",), **strictness):
    request = pb.FindSimilarPeopleRequest(
        person_ids=person_ids, models=models, distance=COSINE, strictness=pb.Strictness(**strictness)
    )
    return embedder.FindSimilarPeople(request).pairs


def test_who_is_like_somebody_else(embedder):
    enroll(embedder, "anna", photo("1.png", 1, 1), photo("2.png", 2, 2, augmented=True))
    enroll(embedder, "ann", photo("7.png", 1, 3), photo("8.png", 3, 3))
    enroll(embedder, "bob", photo("1.png", 2, 1))
    enroll(embedder, "carl", photo("1.png", 4, 1))
    pairs = similar(embedder, "bob", "ann", "carl", "nobody", "anna")
    assert [(pair.person_id, pair.match.person_id, pair.match.photo_id) for pair in pairs] == [
        ("bob", "anna", "2.png"), ("ann", "anna", "1.png"), ("anna", "ann", "7.png"),
    ]  # fmt: skip
    assert all(0 < pair.match.distance < pair.match.threshold for pair in pairs)
    assert pairs[1].match.distance == pytest.approx(pairs[2].match.distance)
    assert similar(embedder, "ann", threshold=pairs[1].match.distance / 2) == []
    everybody = similar(embedder, "carl", threshold=2)
    assert {pair.match.person_id for pair in everybody} == {"anna", "ann", "bob"}
    no = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert refused(similar, embedder) == refused(similar, embedder, *map(str, range(101))) == no
    assert refused(similar, embedder, "anna", models=("Dlib", "ArcFace"), threshold=0.3) == no


def test_models_tell_by_which_distance_they_decide(embedder):
    request = pb.DescribeModelsRequest(models=["ArcFace", "Dlib"], distance=pb.DISTANCE_EUCLIDEAN)
    models = embedder.DescribeModels(request).models
    assert [(one.name, one.dimension, one.threshold) for one in models] == [("ArcFace", 16, 4.0), ("Dlib", 32, 4.0)]
    assert models[0].threshold_source == "made up" and models[0].version
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    request = pb.DescribeModelsRequest(models=["Nobody"], distance=COSINE)
    assert refused(embedder.DescribeModels, request) == (invalid, "MODEL_UNKNOWN")
    assert refused(embedder.DescribeModels, pb.DescribeModelsRequest(models=["Dlib"])) == (invalid, "INVALID_REQUEST")


def test_what_is_refused(embedder):
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    assert refused(identify, embedder, probe(1), models=["Nobody"]) == (invalid, "MODEL_UNKNOWN")
    assert refused(identify, embedder, probe(1), models=[]) == (invalid, "INVALID_REQUEST")
    assert refused(identify, embedder, probe(1), models=["Dlib", "Dlib"]) == (invalid, "INVALID_REQUEST")
    assert refused(identify, embedder, probe(1), distance=0) == (invalid, "INVALID_REQUEST")
    assert refused(identify, embedder) == (invalid, "INVALID_REQUEST")
    assert refused(identify, embedder, *[probe(1)] * 257) == (invalid, "INVALID_REQUEST")
    assert refused(verify, embedder, "anna", []) == (invalid, "INVALID_REQUEST")
    assert refused(verify, embedder, "anna", [probe(1)], min_pairs=0) == (invalid, "INVALID_REQUEST")
    both = {"augmented": [probe(1)], "min_augmented_pairs": 0}
    assert refused(verify, embedder, "anna", [probe(1)], **both) == (invalid, "INVALID_REQUEST")
    assert refused(enroll, embedder, "", photo("1.png", 1)) == (invalid, "INVALID_REQUEST")
    assert refused(enroll, embedder, "anna ", photo("1.png", 1)) == (invalid, "INVALID_REQUEST")
    assert refused(enroll, embedder, "anna", photo("1.png", 1), photo("1.png", 2)) == (invalid, "INVALID_REQUEST")
    everyone = pb.FindUnenrolledRequest(person_ids=["x"] * 10_001, models=["Dlib"])
    assert refused(embedder.FindUnenrolled, everyone) == (invalid, "INVALID_REQUEST")


@pytest.mark.parametrize(
    "strictness",
    [
        {"threshold": 0.3, "max_fmr": 1e-3},
        {"threshold": -0.1},
        {"threshold": float("inf")},
        {"threshold": float("nan")},
        {"max_fmr": 0.2},
        {"max_fmr": 1e-8},
        {"max_fmr": -1e-3},
        {"max_fmr": float("nan")},
    ],
)
def test_which_thresholds_are_refused(embedder, strictness):
    no = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert refused(verify, embedder, "anna", [probe(1)], strictness=pb.Strictness(**strictness)) == no
    assert refused(ranked, embedder, probe(1), top_k=1, **strictness) == no
    assert refused(compare, embedder, [probe(1)], [probe(1)], **strictness) == no


def test_which_searches_and_comparisons_are_refused(embedder):
    no = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    several = {"models": ["Dlib", "ArcFace"], "threshold": 0.3}  # which have no distance in common
    assert refused(ranked, embedder, probe(1), top_k=1, **several) == no
    assert refused(compare, embedder, [probe(1)], [probe(1)], **several) == no
    for top_k in (-1, 101, 1_000_000):
        assert refused(ranked, embedder, probe(1), top_k=top_k) == no
    for left, right in (
        ([], [probe(1)]),
        ([probe(1)], []),
        ([probe(1)] * 65, [probe(1)]),
        ([probe(1)], [probe(1)] * 65),
    ):
        assert refused(compare, embedder, left, right) == no


def test_which_faces_are_refused(embedder):
    invalid = grpc.StatusCode.INVALID_ARGUMENT

    def embed(face):
        return embedder.EmbedFaces(pb.EmbedFacesRequest(models=["Dlib"], faces=[face]))

    large = fake_crop(1)
    large = from_crop(type(large)(large.pixels.repeat(20, axis=0), large.landmarks))
    assert refused(embed, large) == (invalid, "IMAGE_TOO_LARGE")
    assert refused(embed, face_pb2.FaceCrop(image=b"no picture", landmarks=crop(1).landmarks)) == (
        invalid,
        "IMAGE_UNDECODABLE",
    )
    assert refused(embed, face_pb2.FaceCrop(image=crop(1).image)) == (invalid, "INVALID_REQUEST")
    broken = crop(1)
    broken.landmarks.nose.x = float("nan")
    assert refused(embed, broken) == (invalid, "INVALID_REQUEST")
    assert refused(identify, embedder, pb.Probe()) == (invalid, "INVALID_REQUEST")
    for vector in ([1.0] * 31, [0.0] * 32, [float("inf")] * 32, []):
        template = pb.Template(model="Dlib", model_version="1", vector=vector)
        assert refused(identify, embedder, pb.Probe(templates=[template])) == (invalid, "INVALID_REQUEST")


def test_what_is_stored_can_be_listed(embedder):
    enroll(embedder, "anna", photo("1.png", 1), photo("2.png", 1, 1), models=("Dlib", "ArcFace"))
    enroll(embedder, "bob", photo("1.png", 2))
    request = pb.ListTemplatesRequest(person_ids=["anna", "bob", "carl"], models=["Dlib"])
    listed = embedder.ListTemplates(request).photos
    assert [(one.person_id, one.photo_id) for one in listed] == [("anna", "1.png"), ("anna", "2.png"), ("bob", "1.png")]
    made = embedder.EmbedFaces(pb.EmbedFacesRequest(models=["Dlib"], faces=[photo("", 1, 1).crop])).faces[0]
    assert listed[1].templates == made.templates
    request.models.append("ArcFace")
    assert [len(one.templates) for one in embedder.ListTemplates(request).photos] == [2, 2, 1]
