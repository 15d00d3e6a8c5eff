"""Long work and models in memory, for tests of the gateway's pipeline."""

import time
from dataclasses import replace

from services.gateway.storage.work import ModelChoice, Operation, OperationKind, OperationState
from tests.fakes import Steps


class FakeOperations:
    """See OperationStore."""

    def __init__(self, steps: Steps, wanted: tuple[str, ...]):
        """`wanted`: may be changed, as SELECTED_MODELS."""
        self.wanted = wanted
        self.answering = wanted
        self._before: tuple[str, ...] = ()
        self._operations: dict[str, Operation] = {}
        self._held: dict[str, tuple[str, float]] = {}
        self._steps = steps

    def forget_holders(self) -> None:
        """As if their time were up."""
        self._held.clear()

    def models(self) -> ModelChoice:
        return ModelChoice(self.answering, self.wanted)

    def settle(self) -> tuple[str, ...]:
        self._steps.reach("operations.settle")
        if set(self.answering) != set(self.wanted):
            self._before = self.answering
        self.answering = self.wanted
        return tuple(dict.fromkeys((*self.wanted, *self._before)))

    def begin(self, kind: OperationKind, total: int, key: str) -> Operation:
        self._steps.reach("operations.begin")
        running = (one for one in self._operations.values() if one.kind is kind and one.state is OperationState.RUNNING)
        if live := next(running, None):
            return live
        number = len(self._operations) + 1
        new = Operation(f"{number:04}", kind, self.wanted, total, key=key, created_at=number, updated_at=number)
        self._operations[new.operation_id] = new
        return new

    def find(self, operation_id: str) -> Operation | None:
        return self._operations.get(operation_id)

    def all(self) -> list[Operation]:
        return sorted(self._operations.values(), key=lambda one: one.operation_id, reverse=True)

    def take(self, holder: str, until: float, operation_id: str | None = None) -> Operation | None:
        for one in self._operations.values():
            other, held = self._held.get(one.operation_id, (holder, 0.0))
            free = one.state is OperationState.RUNNING and (other == holder or held < time.time())
            if free and operation_id in (None, one.operation_id):
                self._held[one.operation_id] = (holder, until)
                return one
        return None

    def save(self, operation: Operation, holder: str, until: float) -> bool:
        self._steps.reach("operations.save")
        there = self._operations[operation.operation_id]
        if there.state is not OperationState.RUNNING or self._held[operation.operation_id][0] != holder:
            return False
        self._operations[operation.operation_id] = operation
        self._held[operation.operation_id] = (holder, until)
        return True

    def cancel(self, operation_id: str) -> None:
        one = self._operations.get(operation_id)
        if one and one.state is OperationState.RUNNING:
            self._operations[operation_id] = replace(one, state=OperationState.CANCELLED, ended_at=one.updated_at)
