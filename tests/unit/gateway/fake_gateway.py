"""The gateway's pipeline and both its APIs, on fakes."""

import json
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import copy_context
from dataclasses import replace
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

import grpc
from google.api import httpbody_pb2
from reco.gateway.v1 import legacy_pb2

from services.common import call
from services.gateway.access.attempts import Attempts
from services.gateway.api.faces import FacesServicer
from services.gateway.api.form_messages import FormServicer
from services.gateway.api.grpc import GatewayServicer
from services.gateway.api.info import InfoServicer
from services.gateway.api.people import PeopleServicer
from services.gateway.api.rest import LegacyServicer
from services.gateway.metrics import GatewayMetrics
from services.gateway.pipeline.enroll import EnrollmentResult
from services.gateway.pipeline.last_uses import LastUses
from services.gateway.pipeline.verify import VerificationResult, VerifyOptions
from services.gateway.server import build_pipeline
from services.gateway.stages.types import Stages
from services.gateway.storage.types import Workspace
from tests.fake_operations import FakeOperations
from tests.fake_people import FakePeople
from tests.fake_storage import ENV, FakeLocks, FakePhotos, FakeRecords, FakeUploads, FakeWorkspaces
from tests.fakes import FakeDetector, FakeEmbedder, FakeLiveness, Steps

PERSON = "RECO_ID_1"
CONTEXT = cast(grpc.ServicerContext, None)  # which no servicer asks for anything
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=x"

Answer = dict[str, Any]
T = TypeVar("T")


class FakeGateway:
    """A gateway whose stages and storage are fakes."""

    def __init__(self, executor: Executor):
        self.steps = Steps()
        self.people = FakePeople()
        self.records, self.photos = FakeRecords(self.steps, self.people), FakePhotos(self.steps)
        self.uploads, self.embedder = FakeUploads(self.steps), FakeEmbedder(self.steps)
        self.operations = FakeOperations(self.steps, ENV.selected_models)
        self.locks = FakeLocks()
        workspace = Workspace(ENV, self.records, self.photos, self.uploads, self.locks, self.people, self.operations)
        self.workspaces = FakeWorkspaces(workspace)
        self._executor = executor
        self.restart()

    def restart(self, attempts: Attempts | None = None, uses: LastUses | None = None, fused: bool = False) -> None:
        """A new process on the same storage; see build_pipeline."""
        self.steps.clear()
        self.liveness = FakeLiveness(self.steps)
        stages = Stages(FakeDetector(self.steps), self.liveness, self.embedder)
        self.pipeline = build_pipeline(stages, self._executor, attempts, uses, fused)
        self.rest = LegacyServicer(self.workspaces, self.pipeline, GatewayMetrics())
        self.people_api = PeopleServicer(self.workspaces, self.pipeline)
        self.faces_api = FacesServicer(self.workspaces, self.pipeline)
        self.forms_api = FormServicer(self.faces_api, self.people_api)
        self.info_api = InfoServicer(self.workspaces, self.embedder)
        self.typed = GatewayServicer(self.workspaces, self.pipeline, GatewayMetrics())

    @property
    def workspace(self) -> Workspace:
        return self.workspaces.workspace

    def set_env(self, **settings: Any) -> None:
        """Changes settings, named as in Env."""
        self.workspaces.workspace = replace(self.workspace, env=replace(ENV, **settings))

    def select(self, *models: str) -> None:
        """Sets SELECTED_MODELS: other models than answer now."""
        self.operations.wanted = models
        self.set_env(selected_models=models)

    def upload(self, *photos: bytes, person: str = PERSON) -> str:
        """Stores photos whatever their score; gives the upload's ID."""
        return self.uploads.create(person, [(".jpg", photo) for photo in photos]).upload_id

    def enroll(
        self, *photos: bytes, person: str = PERSON, name: str = "Ann Lee", in_place: bool = False
    ) -> EnrollmentResult:
        return self.pipeline.enroller.enroll(self.workspace, self.upload(*photos, person=person), name, in_place)

    def verify(self, *photos: bytes, person: str = PERSON, **options: bool) -> VerificationResult:
        upload_id = self.upload(*photos, person=person)
        return self.pipeline.verifier.verify(self.workspace, upload_id, VerifyOptions(**options))

    def check_agreement(self) -> None:
        """Rows, photos and templates tell of the same people, and nothing is left over."""
        photos = {row.person_id: set(self.photos.names(row.folder)) for row in self.records.rows.values()}
        assert {person: set(stored) for person, stored in self.embedder.stored.items()} == photos
        assert set(self.photos.folders) == {row.folder for row in self.records.rows.values()}
        assert not self.records.entries and not self.photos.staging

    # The REST contract

    def upload_imgs(self, person_id: str, body: bytes, content_type: str = MULTIPART) -> Answer:
        request = legacy_pb2.LegacyUploadRequest(id=person_id, body=_body(content_type, body))
        return _answer(self.rest.UploadImgs(iter([request]), CONTEXT))

    def upload_db(self, upload_id: str, **fields: str) -> Answer:
        """Enrolls; fields that are not given are `false`, or Ann Lee."""
        flags = {"name": "Ann Lee", "delete_pickles": "false", "rebuild_db": "false", "in_place": "false"}
        return self.post_upload_db(urlencode({"upload_id": upload_id, **flags, **fields}).encode())

    def post_upload_db(self, body: bytes, content_type: str = URLENCODED) -> Answer:
        request = legacy_pb2.LegacyFormRequest(body=_body(content_type, body))
        return _answer(self.rest.UploadDb(request, CONTEXT))

    def verify_rest(self, upload_id: str, **fields: str) -> Answer:
        """Verifies; fields that are not given are `false`."""
        flags = {"skip_verify": "false", "skip_db_search": "false", "skip_liveness": "false"}
        return self.post_verify(urlencode({"upload_id": upload_id, **flags, **fields}).encode())

    def post_verify(self, body: bytes, content_type: str = URLENCODED) -> Answer:
        request = legacy_pb2.LegacyFormRequest(body=_body(content_type, body))
        return _answer(self.rest.Verify(request, CONTEXT))


def _body(content_type: str, data: bytes) -> httpbody_pb2.HttpBody:
    return httpbody_pb2.HttpBody(content_type=content_type, data=data)


def _answer(body: httpbody_pb2.HttpBody) -> Answer:
    answer: Answer = json.loads(body.data)
    return answer


def within(seconds: float, function: Callable[[], T]) -> T:
    """Calls the function within a request that has so many seconds left."""
    request = copy_context()
    request.run(call.begin, "test", seconds)
    return request.run(function)
