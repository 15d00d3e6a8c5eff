"""Long work and which models answer, in tables of our own beside the one of people; see OperationStore."""

import json
import secrets
import threading
import time
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, Table, delete, insert, select, update

from services.common.database import reading, writing
from services.common.errors import DatabaseRefused
from services.gateway.storage.tables import tables_of
from services.gateway.storage.work import ModelChoice, Operation, OperationKind, OperationState

#: Seconds that what is known of the models is used before it is read again.
REREAD = 1.0

#: Operations that are kept once they have ended, the latest.
KEPT = 100


class SqlOperations:
    """Operations and models in one database. Safe to use from several threads and processes."""

    def __init__(self, engine: Engine, people_table: str, wanted: tuple[str, ...]):
        """`wanted`: the models that SELECTED_MODELS names."""
        self._engine = engine
        self._wanted = wanted
        self._tables = tables_of(people_table)
        self._operations, self._models = self._tables.operations, self._tables.models
        self._made = False
        self._lock = threading.Lock()
        self._known: tuple[float, ModelChoice] | None = None

    def models(self) -> ModelChoice:
        now = time.monotonic()
        with self._lock:
            if self._known and now < self._known[0] + REREAD:
                return self._known[1]
        self._create()
        with reading(self._engine) as connection:
            answering = connection.scalar(select(self._models.c.answering))
        return self._remember(ModelChoice(tuple(json.loads(answering)) if answering else self._wanted, self._wanted))

    def settle(self) -> tuple[str, ...]:
        self._create()
        with writing(self._engine) as connection:
            row = connection.execute(select(self._models).with_for_update()).mappings().first()
            answering = json.loads(row["answering"]) if row else []
            before = json.loads(row["before"]) if row and set(answering) == set(self._wanted) else answering
            values = {"answering": json.dumps(self._wanted), "before": json.dumps(before)}
            if row:
                connection.execute(update(self._models).values(values))
            else:
                connection.execute(insert(self._models).values(values | {"id": 1}))
        self._remember(ModelChoice(self._wanted, self._wanted))
        return tuple(dict.fromkeys((*self._wanted, *before)))

    def begin(self, kind: OperationKind, total: int, key: str) -> Operation:
        self._create()
        if live := self._live(kind):
            return live
        when = _now()
        new = Operation(_new_id(when), kind, self._wanted, total, key=key, created_at=when, updated_at=when)
        try:
            with writing(self._engine) as connection:
                connection.execute(insert(self._operations).values(_row(new)))
                _forget_old(connection, self._operations)
        except DatabaseRefused:
            if live := self._live(kind):  # somebody else was first
                return live
            raise
        return new

    def find(self, operation_id: str) -> Operation | None:
        self._create()
        return self._one(self._operations.c.operation_id == operation_id)

    def all(self) -> list[Operation]:
        self._create()
        query = select(self._operations).order_by(self._operations.c.operation_id.desc()).limit(2 * KEPT)
        with reading(self._engine) as connection:
            return [_operation(row) for row in connection.execute(query).mappings()]

    def take(self, holder: str, until: float, operation_id: str | None = None) -> Operation | None:
        self._create()
        operations = self._operations
        ours_or_nobodys = (operations.c.held_until < time.time()) | (operations.c.holder == holder)
        free = (operations.c.slot.is_not(None), ours_or_nobodys)
        query = select(operations).where(*free).order_by(operations.c.operation_id)
        if operation_id is not None:
            query = query.where(operations.c.operation_id == operation_id)
        with reading(self._engine) as connection:
            found = [_operation(row) for row in connection.execute(query).mappings()]
        for one in found:
            with writing(self._engine) as connection:
                taking = update(operations).where(operations.c.operation_id == one.operation_id, *free)
                if connection.execute(taking.values(holder=holder, held_until=until)).rowcount:
                    return one
        return None

    def save(self, operation: Operation, holder: str, until: float) -> bool:
        operations = self._operations
        ours = (operations.c.operation_id == operation.operation_id, operations.c.holder == holder)
        running = operations.c.slot.is_not(None)
        row = _row(replace(operation, updated_at=_now())) | {"held_until": until}
        with writing(self._engine) as connection:
            return bool(connection.execute(update(operations).where(*ours, running).values(row)).rowcount)

    def cancel(self, operation_id: str) -> None:
        when, operations = _now(), self._operations
        values = {"state": OperationState.CANCELLED.value, "slot": None, "updated_at": when, "ended_at": when}
        with writing(self._engine) as connection:
            live = (operations.c.operation_id == operation_id, operations.c.slot.is_not(None))
            connection.execute(update(operations).where(*live).values(values))

    def _live(self, kind: OperationKind) -> Operation | None:
        return self._one(self._operations.c.slot == kind.value)

    def _one(self, condition: ColumnElement[bool]) -> Operation | None:
        with reading(self._engine) as connection:
            row = connection.execute(select(self._operations).where(condition)).mappings().first()
        return _operation(row) if row else None

    def _remember(self, models: ModelChoice) -> ModelChoice:
        with self._lock:
            self._known = (time.monotonic(), models)
        return models

    def _create(self) -> None:
        if not self._made:
            self._tables.schema.prepare(self._engine)
            self._made = True


def _row(operation: Operation) -> dict[str, Any]:
    running = operation.state is OperationState.RUNNING
    return {
        "operation_id": operation.operation_id,
        "kind": operation.kind.value,
        "slot": operation.kind.value if running else None,
        "models": json.dumps(operation.models),
        "state": operation.state.value,
        "total": operation.total,
        "done": operation.done,
        "position": operation.position,
        "problem": operation.problem,
        "started_by": operation.key,
        "created_at": operation.created_at,
        "updated_at": operation.updated_at,
        "ended_at": operation.ended_at,
    }


def _operation(row: RowMapping) -> Operation:
    return Operation(
        operation_id=row["operation_id"],
        kind=OperationKind(row["kind"]),
        models=tuple(json.loads(row["models"])),
        total=row["total"],
        state=OperationState(row["state"]),
        done=row["done"],
        position=row["position"],
        problem=row["problem"],
        key=row["started_by"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        ended_at=row["ended_at"],
    )


def _forget_old(connection: Connection, operations: Table) -> None:
    """Deletes those that ended long ago."""
    ended = select(operations.c.operation_id).where(operations.c.slot.is_(None))
    old = ended.order_by(operations.c.operation_id.desc()).offset(KEPT).limit(KEPT)
    for operation_id in connection.scalars(old).all():
        connection.execute(delete(operations).where(operations.c.operation_id == operation_id))


def _new_id(when: int) -> str:
    return f"{when:014x}-{secrets.token_hex(4)}"


def _now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000
