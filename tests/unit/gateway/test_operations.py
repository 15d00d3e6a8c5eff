"""Long work: kept on SQLite and on the fake of other tests, and done piece by piece, whatever dies in the middle."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from reco.gateway.v1 import info_pb2
from reco.gateway.v1 import operations_pb2 as pb
from sqlalchemy import make_url

from services.common.database import open_engine
from services.common.errors import DatabaseUnavailable, ModelUnavailable
from services.gateway.activity import Activity
from services.gateway.api.operations import OperationsServicer
from services.gateway.errors import OperationNeeded, OperationUnknown
from services.gateway.pipeline.verify import VerificationOutcome
from services.gateway.storage.operations import KEPT, SqlOperations
from services.gateway.storage.work import OperationKind, OperationState
from tests.fake_operations import FakeOperations
from tests.fakes import Killed, Steps, fake_photo
from tests.operations_contract import Open, OperationsContract
from tests.unit.gateway.fake_gateway import CONTEXT, FakeGateway
from tests.unit.gateway.people_requests import refusal

ANN, BOB = fake_photo("ann"), fake_photo("bob")


class TestStores(OperationsContract):
    """Both of them."""

    @pytest.fixture(params=["sqlite", "fake"])
    def open_store(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
        engine = open_engine(make_url(f"sqlite:///{tmp_path}/reco.db"))
        fake = FakeOperations(Steps(), ())

        def open_fake(wanted: tuple[str, ...]) -> FakeOperations:
            if not fake.answering:
                fake.answering = wanted
            fake.wanted = wanted
            return fake

        def open_tables(wanted: tuple[str, ...]) -> SqlOperations:
            return SqlOperations(engine, "reco_table", wanted)

        yield open_tables if request.param == "sqlite" else open_fake
        engine.dispose()


def test_those_that_ended_long_ago_are_forgotten(tmp_path: Path):
    engine = open_engine(make_url(f"sqlite:///{tmp_path}/reco.db"))
    store = SqlOperations(engine, "reco_table", ("A",))
    for _ in range(KEPT + 5):
        last = store.begin(OperationKind.REBUILD, 0, "")
        store.cancel(last.operation_id)
    assert len(store.all()) <= KEPT + 1 and store.all()[0].operation_id == last.operation_id
    engine.dispose()


# Another model


def run(gateway: FakeGateway, holder: str = "us") -> None:
    """Until nothing is left to do."""
    gateway.pipeline.operations.follow_models(gateway.workspace)
    while gateway.pipeline.operations.advance(gateway.workspace, holder):
        pass


def models_of(gateway: FakeGateway) -> list[list[str]]:
    """Of each stored photo the models that have a template of it."""
    photos = [photo for person in gateway.embedder.stored.values() for photo in person.values()]
    return [sorted(template.model for template in photo.templates) for photo in photos]


def is_ann(gateway: FakeGateway) -> bool:
    """Whether her photo is verified, and found among all."""
    verified, found = gateway.verify(ANN), gateway.verify(ANN, skip_verify=True)
    return (verified.outcome, found.outcome) == (VerificationOutcome.VERIFIED, VerificationOutcome.FOUND_SAME)


@pytest.fixture
def two(gateway: FakeGateway) -> FakeGateway:
    """Two people, and another model is selected since."""
    gateway.enroll(ANN)
    gateway.enroll(BOB, person="RECO_ID_2")
    run(gateway)
    gateway.select("ArcFace")
    return gateway


def test_the_model_that_was_answers_until_all_have_templates_of_the_other(two: FakeGateway):
    two.pipeline.operations.follow_models(two.workspace)
    assert two.workspace.models.answering == ("Dlib",)
    assert is_ann(two)
    assert {tuple(models) for models in models_of(two)} == {("Dlib",)}
    (running,) = two.pipeline.operations.all(two.workspace)
    assert (running.kind, running.total, running.done, running.models) == (OperationKind.REEMBED, 2, 0, ("ArcFace",))
    run(two)
    assert two.workspace.models.answering == ("ArcFace",)
    assert {tuple(models) for models in models_of(two)} == {("ArcFace", "Dlib")}
    (ended,) = two.pipeline.operations.all(two.workspace)
    assert (ended.state, ended.done) == (OperationState.SUCCEEDED, 2) and ended.ended_at
    assert is_ann(two)


def test_who_is_enrolled_meanwhile_has_templates_of_both(two: FakeGateway):
    two.pipeline.operations.follow_models(two.workspace)
    two.enroll(fake_photo("carl"), person="RECO_ID_3")
    assert sorted(models_of(two)) == [["ArcFace", "Dlib"]] * 3 + [["Dlib"]] * 6
    run(two)
    assert {tuple(models) for models in models_of(two)} == {("ArcFace", "Dlib")}


def test_templates_that_are_there_are_not_made_again(two: FakeGateway):
    run(two)
    two.select("Dlib")
    before = two.embedder.embedded
    run(two)
    assert two.embedder.embedded == before
    assert two.workspace.models.answering == ("Dlib",)


def test_setting_it_back_in_the_middle_changes_nothing(two: FakeGateway):
    two.pipeline.operations.follow_models(two.workspace)
    two.pipeline.operations.advance(two.workspace, "us")
    two.select("Dlib")
    run(two)
    assert [one.state for one in two.pipeline.operations.all(two.workspace)] == [OperationState.CANCELLED]
    assert two.workspace.models.answering == ("Dlib",) and is_ann(two)


def test_a_third_model_takes_the_place_of_the_second(two: FakeGateway):
    two.pipeline.operations.follow_models(two.workspace)
    two.select("SFace")
    run(two)
    states = [(one.models, one.state) for one in two.pipeline.operations.all(two.workspace)]
    assert states == [(("SFace",), OperationState.SUCCEEDED), (("ArcFace",), OperationState.CANCELLED)]
    two.select("OpenFace")
    run(two)
    assert {tuple(models) for models in models_of(two)} == {("OpenFace", "SFace")}  # Dlib's are dropped


def test_a_model_that_cannot_answer_any_more_is_not_waited_for(two: FakeGateway):
    two.steps.fail("embedder.describe", ModelUnavailable("its weights are gone"))
    two.pipeline.operations.follow_models(two.workspace)
    assert two.workspace.models.answering == ("ArcFace",)
    assert is_ann(two)  # as people who have no templates are


@pytest.mark.parametrize("step", ["embedder.enroll", "embedder.rebuild_index", "operations.settle", "operations.save"])
def test_killed_it_goes_on_where_it_was(two: FakeGateway, step: str):
    two.pipeline.operations.follow_models(two.workspace)
    two.steps.fail(step, Killed())
    with pytest.raises(Killed):
        run(two, "another")
    two.operations.forget_holders()
    two.restart()
    assert is_ann(two)
    run(two)
    assert two.workspace.models.answering == ("ArcFace",) and is_ann(two)
    assert [one.state for one in two.pipeline.operations.all(two.workspace)] == [OperationState.SUCCEEDED]


def test_what_hinders_it_is_told_and_tried_again(two: FakeGateway):
    two.pipeline.operations.follow_models(two.workspace)
    two.steps.fail("embedder.enroll", DatabaseUnavailable("it is away"))
    with pytest.raises(DatabaseUnavailable):
        run(two)
    (running,) = two.pipeline.operations.all(two.workspace)
    assert (running.problem, running.state) == ("it is away", OperationState.RUNNING)
    two.steps.clear()
    run(two)
    (ended,) = two.pipeline.operations.all(two.workspace)
    assert (ended.problem, ended.state) == ("", OperationState.SUCCEEDED)


def test_somebody_erased_meanwhile_is_not_embedded(two: FakeGateway):
    two.pipeline.operations.follow_models(two.workspace)
    two.steps.before("embedder.unenrolled", lambda: two.records.rows.clear())
    two.pipeline.operations.advance(two.workspace, "us")
    two.steps.clear()
    assert {tuple(models) for models in models_of(two)} == {("Dlib",)}


# What clients may do


def test_it_cannot_be_cancelled_while_the_settings_ask_for_it(two: FakeGateway):
    two.pipeline.operations.follow_models(two.workspace)
    (running,) = two.pipeline.operations.all(two.workspace)
    with pytest.raises(OperationNeeded):
        two.pipeline.operations.cancel(two.workspace, running.operation_id)
    run(two)
    ended = two.pipeline.operations.cancel(two.workspace, running.operation_id)
    assert ended.state is OperationState.SUCCEEDED


def test_a_rebuild_can_be_cancelled(gateway: FakeGateway):
    gateway.enroll(ANN)
    begun = gateway.pipeline.operations.rebuild(gateway.workspace)
    assert begun.total == 1
    ended = gateway.pipeline.operations.cancel(gateway.workspace, begun.operation_id)
    assert ended.state is OperationState.CANCELLED
    assert not gateway.pipeline.operations.advance(gateway.workspace, "us")
    with pytest.raises(OperationUnknown):
        gateway.pipeline.operations.get(gateway.workspace, "1")


def test_operations_by_the_typed_api(two: FakeGateway):
    api = OperationsServicer(two.workspaces, two.pipeline.operations, Activity(CollectorRegistry()))
    two.pipeline.operations.follow_models(two.workspace)
    (running,) = api.ListOperations(pb.ListOperationsRequest(), CONTEXT).operations
    assert (running.kind, running.state) == (pb.Operation.KIND_REEMBED, pb.Operation.STATE_RUNNING)
    assert (running.models, running.total_people, running.started_by) == (["ArcFace"], 2, "settings")
    assert not running.HasField("end_time")
    cancel = pb.CancelOperationRequest(operation_id=running.operation_id)
    assert refusal(lambda: api.CancelOperation(cancel, CONTEXT)) == ("FAILED_PRECONDITION", "OPERATION_NEEDED", [])
    rebuild = api.StartRebuild(pb.StartRebuildRequest(), CONTEXT)
    assert api.StartRebuild(pb.StartRebuildRequest(), CONTEXT) == rebuild
    run(two)
    ended = api.GetOperation(pb.GetOperationRequest(operation_id=rebuild.operation_id), CONTEXT)
    assert (ended.state, ended.done_people) == (pb.Operation.STATE_SUCCEEDED, 2) and ended.HasField("end_time")
    unknown = pb.GetOperationRequest(operation_id="x")
    assert refusal(lambda: api.GetOperation(unknown, CONTEXT)) == ("NOT_FOUND", "OPERATION_UNKNOWN", [])


def test_info_tells_which_models_come(two: FakeGateway):
    info = two.info_api.GetInfo(info_pb2.GetInfoRequest(), CONTEXT)
    assert ([one.name for one in info.models], info.next_models) == (["Dlib"], ["ArcFace"])
    run(two)
    info = two.info_api.GetInfo(info_pb2.GetInfoRequest(), CONTEXT)
    assert ([one.name for one in info.models], info.next_models) == (["ArcFace"], [])
