"""Long work, which goes on beside requests, and which models answer those. operations.py keeps both."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


@dataclass(frozen=True)
class ModelChoice:
    """Which recognition models are used.

    Attributes:
        answering: those by which people are verified and found; everybody has templates of them.
        wanted: those that SELECTED_MODELS names. Where it has changed, they answer as soon as everybody has templates.
    """

    answering: tuple[str, ...]
    wanted: tuple[str, ...]

    @property
    def made(self) -> tuple[str, ...]:
        """Those by which whoever is enrolled is embedded."""
        return tuple(dict.fromkeys((*self.answering, *self.wanted)))

    @property
    def are_changing(self) -> bool:
        """Whether others are wanted than answer."""
        return set(self.answering) != set(self.wanted)


class OperationKind(Enum):
    """What long work does; one of a kind at a time."""

    REEMBED = "reembed"
    REBUILD = "rebuild"


class OperationState(Enum):
    """Where it stands."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Operation:
    """A piece of long work.

    Attributes:
        operation_id: later ones sort after earlier ones.
        models: whose templates it makes.
        total, done: people.
        position: the number of the last row that is done.
        problem: why it does not get on now; it is tried again.
        key: name of the key that it was begun with, or whose it is otherwise.
        created_at, updated_at, ended_at: microseconds since 1970; 0 before it has ended.
    """

    operation_id: str
    kind: OperationKind
    models: tuple[str, ...]
    total: int
    state: OperationState = OperationState.RUNNING
    done: int = 0
    position: int = 0
    problem: str = ""
    key: str = ""
    created_at: int = 0
    updated_at: int = 0
    ended_at: int = 0


class OperationStore(Protocol):
    """Keeps long work, and which models answer. Every method raises DatabaseUnavailable or DatabaseRefused."""

    def models(self) -> ModelChoice:
        """As they are now, or were a second ago."""

    def settle(self) -> tuple[str, ...]:
        """Has the wanted models answer from now on; returns those, and the ones that did before, to go back to."""

    def begin(self, kind: OperationKind, total: int, key: str) -> Operation:
        """Begins an operation for the wanted models, or returns the one of that kind that runs already."""

    def find(self, operation_id: str) -> Operation | None:
        """One of them."""

    def all(self) -> Sequence[Operation]:
        """Those that run, and the latest that have ended; the latest first."""

    def take(self, holder: str, until: float, operation_id: str | None = None) -> Operation | None:
        """The oldest one that runs and that nobody else holds, or the one of that ID; then that is the holder's.

        Args:
            until: seconds since 1970: who has not saved it by then holds it no more.
        """

    def save(self, operation: Operation, holder: str, until: float) -> bool:
        """Writes how far it has got; False where it has ended or is another's, and nothing is written."""

    def cancel(self, operation_id: str) -> None:
        """Ends one that runs. Idempotent."""
