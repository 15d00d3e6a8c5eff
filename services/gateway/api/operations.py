"""The typed API's long work, reco.gateway.v1.OperationsService: proto to domain and back."""

import grpc
from reco.gateway.v1 import operations_pb2 as pb
from reco.gateway.v1 import operations_pb2_grpc

from services.gateway.activity import Activity, Minute
from services.gateway.api.people import from_moment
from services.gateway.pipeline.pipeline import RunsOperations
from services.gateway.storage.types import Workspaces
from services.gateway.storage.work import Operation, OperationKind, OperationState

KINDS = {
    OperationKind.REEMBED: pb.Operation.KIND_REEMBED,
    OperationKind.REBUILD: pb.Operation.KIND_REBUILD,
}
STATES = {
    OperationState.RUNNING: pb.Operation.STATE_RUNNING,
    OperationState.SUCCEEDED: pb.Operation.STATE_SUCCEEDED,
    OperationState.CANCELLED: pb.Operation.STATE_CANCELLED,
}


class OperationsServicer(operations_pb2_grpc.OperationsServiceServicer):
    """Long work, typed."""

    def __init__(self, workspaces: Workspaces, operations: RunsOperations, activity: Activity):
        self._workspaces = workspaces
        self._operations = operations
        self._activity = activity

    def ListOperations(
        self, request: pb.ListOperationsRequest, context: grpc.ServicerContext
    ) -> pb.ListOperationsResponse:
        found = self._operations.all(self._workspaces.open())
        return pb.ListOperationsResponse(operations=map(_from_operation, found))

    def GetOperation(self, request: pb.GetOperationRequest, context: grpc.ServicerContext) -> pb.Operation:
        return _from_operation(self._operations.get(self._workspaces.open(), request.operation_id))

    def StartRebuild(self, request: pb.StartRebuildRequest, context: grpc.ServicerContext) -> pb.Operation:
        return _from_operation(self._operations.rebuild(self._workspaces.open()))

    def CancelOperation(self, request: pb.CancelOperationRequest, context: grpc.ServicerContext) -> pb.Operation:
        return _from_operation(self._operations.cancel(self._workspaces.open(), request.operation_id))

    def GetActivity(self, request: pb.GetActivityRequest, context: grpc.ServicerContext) -> pb.GetActivityResponse:
        people = self._workspaces.open().records.count()
        return pb.GetActivityResponse(minutes=map(_from_minute, self._activity.minutes()), enrolled_people=people)


def _from_minute(minute: Minute) -> pb.GetActivityResponse.Minute:
    return pb.GetActivityResponse.Minute(
        begin_time=from_moment(int(minute.begin * 1e6)),
        calls=minute.calls,
        refused=minute.refused,
        failed=minute.failed,
        median_seconds=minute.median,
        p95_seconds=minute.p95,
    )


def _from_operation(operation: Operation) -> pb.Operation:
    return pb.Operation(
        operation_id=operation.operation_id,
        kind=KINDS[operation.kind],
        state=STATES[operation.state],
        models=operation.models,
        total_people=operation.total,
        done_people=operation.done,
        problem=operation.problem,
        started_by=operation.key,
        create_time=from_moment(operation.created_at),
        update_time=from_moment(operation.updated_at),
        end_time=from_moment(operation.ended_at),
    )
