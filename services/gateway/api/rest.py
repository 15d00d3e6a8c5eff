"""The REST contract of PuertoRECO: forms in, JSON with every key and a numeric code out. Only translates."""

import json
import logging
from collections.abc import Callable, Iterator

from google.api import httpbody_pb2
from reco.gateway.v1 import legacy_pb2_grpc

from services.common.env import EnvInvalid
from services.common.errors import RecoError
from services.gateway.api.codes import CODE_OF_REASON, MESSAGES
from services.gateway.api.forms import BrokenBase64, read_fields, read_photos, within_limit
from services.gateway.metrics import GatewayMetrics
from services.gateway.pipeline.enroll import Enrolled, EnrollmentKind, Enrollments
from services.gateway.pipeline.people import check_person_id
from services.gateway.pipeline.rebuild import Maintenance, Report
from services.gateway.pipeline.upload import Intake, PhotoOutcome, UploadResult
from services.gateway.pipeline.verify import Outcome, Verifications, Verified, VerifyOptions
from services.gateway.storage.workspace import Workspaces

log = logging.getLogger("reco")

UPLOAD_DB_KEYS = ("upload_id", "name", "delete_pickles", "rebuild_db", "in_place")
VERIFY_KEYS = ("upload_id", "skip_verify", "skip_db_search", "skip_liveness")

CODE_OF_OUTCOME = {
    Outcome.VERIFIED: 200,
    Outcome.FOUND_SAME: 134,
    Outcome.FOUND_OTHER: 100,
    Outcome.FOUND_NONE: 500,
    Outcome.SPOOF: 560,
}


class Coded(Exception):
    """A request that ends with a code of the contract before the pipeline is asked."""

    def __init__(self, code: int):
        super().__init__(MESSAGES[code])
        self.code = code


class LegacyServicer(legacy_pb2_grpc.LegacyServiceServicer):
    """`/upload_imgs`, `/upload_db` and `/verify`."""

    def __init__(
        self,
        workspaces: Workspaces,
        intake: Intake,
        enrollments: Enrollments,
        verifications: Verifications,
        maintenance: Maintenance,
        metrics: GatewayMetrics,
    ):
        self._workspaces = workspaces
        self._intake = intake
        self._enrollments = enrollments
        self._verifications = verifications
        self._maintenance = maintenance
        self._metrics = metrics

    def UploadImgs(self, request_iterator, context) -> httpbody_pb2.HttpBody:
        keys = ("upload_code", "upload_message", "upload_results")
        return self._answer("upload_imgs", keys, lambda: self._upload_imgs(request_iterator))

    def UploadDb(self, request, context) -> httpbody_pb2.HttpBody:
        keys = ("result_code", "result_message", "upload_results")
        return self._answer("upload_db", keys, lambda: self._upload_db(request.body))

    def Verify(self, request, context) -> httpbody_pb2.HttpBody:
        keys = ("recognition_code", "recognition_message", "recognition_results")
        return self._answer("verify", keys, lambda: self._verify(request.body))

    def _answer(
        self, endpoint: str, keys: tuple[str, str, str], work: Callable[[], tuple[int, dict | None]]
    ) -> httpbody_pb2.HttpBody:
        """Runs a request and writes its answer; refusals that the contract knows become their code."""
        results, system_errors, why = None, None, ""
        try:
            code, results = work()
        except Coded as coded:
            code = coded.code
        except RecoError as err:
            if err.reason not in CODE_OF_REASON:
                raise
            code, why = CODE_OF_REASON[err.reason], str(err)
            if isinstance(err, EnvInvalid):
                system_errors = {"not_in_env": err.not_in_env, "env_errs": err.env_errs}
        log.info("code %d %s", code, why)
        self._metrics.answered(endpoint, code)
        return _json(keys, code, results, system_errors)

    def _upload_imgs(self, requests: Iterator) -> tuple[int, dict | None]:
        first = next(requests)
        pieces = within_limit(_pieces(first, requests))
        try:
            if not first.id:
                raise Coded(110)
            workspace = self._workspaces.open()
            check_person_id(first.id, workspace.env.id_regex)
            photos = read_photos(first.body.content_type, pieces)
        except BrokenBase64 as err:
            raise Coded(193) from err
        finally:
            for _ in pieces:  # a client that is still sending would not read the answer
                pass
        result = self._intake.upload(workspace, first.id, photos)
        return 119 if result.upload else 120, _upload_results(result)

    def _upload_db(self, body: httpbody_pb2.HttpBody) -> tuple[int, dict | None]:
        form = _form(body, UPLOAD_DB_KEYS, 108)
        workspace = self._workspaces.open()
        flags = {key: _is_true(form[key]) for key in UPLOAD_DB_KEYS[2:]}
        enrolled = self._enrollments.enroll(workspace, form["upload_id"], form["name"], flags["in_place"])
        caches = self._maintenance.delete_caches(workspace, flags["delete_pickles"])
        rebuilt = self._maintenance.rebuild(workspace, flags["rebuild_db"], flags["delete_pickles"])
        return _enrollment_code(enrolled, flags["in_place"]), _enrollment_results(enrolled, caches, rebuilt)

    def _verify(self, body: httpbody_pb2.HttpBody) -> tuple[int, dict | None]:
        form = _form(body, VERIFY_KEYS, 109)
        workspace = self._workspaces.open()
        options = VerifyOptions(*(_is_true(form[key]) for key in VERIFY_KEYS[1:]))
        verified = self._verifications.verify(workspace, form["upload_id"], options)
        self._metrics.verified(verified.outcome, options)
        return CODE_OF_OUTCOME[verified.outcome], _recognition_results(verified)


def _json(keys: tuple[str, str, str], code: int, results: dict | None, errors: dict | None) -> httpbody_pb2.HttpBody:
    """The contract's key order: results first for uploads, code first otherwise."""
    code_key, message_key, results_key = keys
    answer = {code_key: code, message_key: MESSAGES[code], results_key: results, "system_errors": errors}
    if code_key == "upload_code":
        answer = {results_key: results, **{key: answer[key] for key in (code_key, message_key, "system_errors")}}
    return httpbody_pb2.HttpBody(content_type="application/json", data=json.dumps(answer).encode("ascii"))


def _pieces(first, requests: Iterator) -> Iterator[bytes]:
    yield first.body.data
    for request in requests:
        yield request.body.data


def _form(body: httpbody_pb2.HttpBody, keys: tuple[str, ...], code: int) -> dict[str, str]:
    form = read_fields(body.content_type, body.data)
    if not form:
        raise Coded(107)
    if any(key not in form for key in keys):
        raise Coded(code)
    return form


def _is_true(value: str) -> bool:
    return value.strip().lower() == "true"


def _upload_results(result: UploadResult) -> dict:
    upload = result.upload
    names = {outcome: [p.name for p in result.photos if p.outcome is outcome] for outcome in PhotoOutcome}
    return {
        "upload_id": upload.upload_id if upload else None,
        "folder_name": upload.upload_id if upload else None,
        "random_str": upload.token if upload else None,
        "scores": {photo.name: round(photo.quality.score, 3) for photo in result.photos if photo.quality},
        "saved": names[PhotoOutcome.SAVED],
        "rejected": names[PhotoOutcome.REJECTED],
        "errors": names[PhotoOutcome.UNDECODABLE],
        "saved_as": [photo.saved_as for photo in result.photos if photo.saved_as] if upload else None,
    }


def _enrollment_code(enrolled: Enrolled, in_place: bool) -> int:
    if enrolled.kind is EnrollmentKind.CREATED:
        return 838 if in_place else 800
    return 900 if enrolled.kind is EnrollmentKind.REPLACED else 850


def _enrollment_results(enrolled: Enrolled, caches: Report, rebuilt: Report) -> dict:
    return {
        "mysql_id": enrolled.record.record_id,
        "message_pickle": {"result": {"message": caches.message, **caches.codes}},
        "rebuilt_db": {"result": {"message": rebuilt.message, **rebuilt.codes}},
        "resulting_imgs": {"main": list(enrolled.photos), "aug": list(enrolled.augmented)},
    }


def _recognition_results(verified: Verified) -> dict:
    distance = None if verified.distance is None else round(verified.distance, 6)
    return {"name": verified.name, "distance": distance}
