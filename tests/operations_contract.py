"""What everything that keeps long work and models promises: tables of either database, and the fake of other tests."""

import time
from collections.abc import Callable
from dataclasses import replace

from services.gateway.storage.work import ModelChoice, OperationKind, OperationState, OperationStore

REBUILD, REEMBED = OperationKind.REBUILD, OperationKind.REEMBED

#: Opens a store for the models that are wanted; what is kept is the same for all.
Open = Callable[[tuple[str, ...]], OperationStore]


def soon() -> float:
    return time.time() + 60


class OperationsContract:
    """Subclasses give the fixture `open_store`."""

    def test_the_wanted_models_answer_where_none_did_before(self, open_store: Open) -> None:
        store = open_store(("Dlib",))
        assert store.models() == ModelChoice(("Dlib",), ("Dlib",)) and not store.models().are_changing
        assert store.settle() == ("Dlib",)

    def test_the_earlier_models_answer_until_it_is_settled(self, open_store: Open) -> None:
        open_store(("Dlib",)).settle()
        store = open_store(("ArcFace", "Dlib"))
        assert store.models() == ModelChoice(("Dlib",), ("ArcFace", "Dlib"))
        assert store.models().are_changing and store.models().made == ("Dlib", "ArcFace")
        assert store.settle() == ("ArcFace", "Dlib")
        assert store.models().answering == ("ArcFace", "Dlib")
        assert store.settle() == ("ArcFace", "Dlib")

    def test_the_models_before_are_kept_to_go_back_to(self, open_store: Open) -> None:
        open_store(("A",)).settle()
        assert open_store(("B",)).settle() == ("B", "A")
        assert open_store(("B",)).settle() == ("B", "A")
        assert open_store(("C",)).settle() == ("C", "B")

    def test_one_of_a_kind_runs_at_a_time(self, open_store: Open) -> None:
        store = open_store(("A",))
        first = store.begin(REBUILD, 5, "door")
        assert (first.models, first.total, first.key, first.done, first.state) == (
            ("A",),
            5,
            "door",
            0,
            OperationState.RUNNING,
        )
        assert first.created_at and not first.ended_at
        assert open_store(("B",)).begin(REBUILD, 9, "other").operation_id == first.operation_id
        other = store.begin(REEMBED, 5, "settings")
        assert [one.operation_id for one in store.all()] == [other.operation_id, first.operation_id]
        store.cancel(first.operation_id)
        store.cancel(first.operation_id)
        ended = store.find(first.operation_id)
        assert ended and ended.state is OperationState.CANCELLED and ended.ended_at
        assert store.begin(REBUILD, 5, "door").operation_id > other.operation_id
        assert store.find("nobody's") is None

    def test_one_holder_works_on_it(self, open_store: Open) -> None:
        store = open_store(("A",))
        begun = store.begin(REBUILD, 5, "")
        taken = store.take("a", soon())
        assert taken and taken.operation_id == begun.operation_id
        assert store.take("b", soon()) is None and store.take("a", soon())
        assert not store.save(replace(taken, done=9), "b", soon())
        assert store.save(replace(taken, done=2, position=7, problem="slow"), "a", time.time() - 1)
        found = store.find(begun.operation_id)
        assert found and (found.done, found.position, found.problem) == (2, 7, "slow")
        assert store.take("b", soon(), "another") is None
        assert store.take("b", soon(), begun.operation_id)
        assert not store.save(taken, "a", soon())

    def test_what_has_ended_stays_so(self, open_store: Open) -> None:
        store = open_store(("A",))
        begun = store.begin(REBUILD, 5, "")
        assert store.take("a", soon())
        assert store.save(replace(begun, state=OperationState.SUCCEEDED, done=5, ended_at=3), "a", soon())
        assert store.take("a", soon()) is None and not store.save(begun, "a", soon())
        found = store.find(begun.operation_id)
        assert found and (found.state, found.done, found.ended_at) == (OperationState.SUCCEEDED, 5, 3)
        store.cancel(begun.operation_id)
        assert store.find(begun.operation_id) == found
