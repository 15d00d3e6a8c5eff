"""The REST contract of PuertoRECO: forms in, JSON with every key and a numeric code out. Only translates."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping

import grpc
from google.api import httpbody_pb2
from reco.gateway.v1 import legacy_pb2, legacy_pb2_grpc

from services.common.env import EnvInvalid
from services.common.errors import ModelUnavailable, RecoError
from services.common.limits import MAX_BODY_BYTES
from services.gateway.api.codes import CACHE_DELETED, CACHE_GONE, CODE_OF_REASON, INDEX_REBUILT, MESSAGES
from services.gateway.api.form_values import BrokenBase64
from services.gateway.api.forms import read_fields, read_photos, within_limit
from services.gateway.api.receiving import ClientGone, Receiver
from services.gateway.api.upload_memory import UploadMemory
from services.gateway.errors import TooManyPhotos
from services.gateway.metrics import GatewayMetrics
from services.gateway.pipeline.enroll import EnrollmentOutcome, EnrollmentResult
from services.gateway.pipeline.people import check_person_id
from services.gateway.pipeline.pipeline import Pipeline
from services.gateway.pipeline.upload import PhotoOutcome, PhotoResult, UploadResult
from services.gateway.pipeline.verify import VerificationOutcome, VerificationResult, VerifyOptions
from services.gateway.storage.types import Workspace, Workspaces

log = logging.getLogger("reco")

UPLOAD_DB_KEYS = ("upload_id", "name", "delete_pickles", "rebuild_db", "in_place")
VERIFY_KEYS = ("upload_id", "skip_verify", "skip_db_search", "skip_liveness")

#: Bytes of uploads that are in memory at a time, of all clients together.
MAX_UPLOADING = 8 * MAX_BODY_BYTES

CODE_OF_OUTCOME = {
    VerificationOutcome.VERIFIED: 200,
    VerificationOutcome.FOUND_SAME: 134,
    VerificationOutcome.FOUND_OTHER: 100,
    VerificationOutcome.FOUND_NONE: 500,
    VerificationOutcome.SPOOF: 560,
}

#: A JSON object, its keys in the contract's order.
Json = Mapping[str, object]


class Coded(Exception):
    """A request that ends with a code of the contract before the pipeline is asked."""

    def __init__(self, code: int):
        super().__init__(MESSAGES[code])
        self.code = code


class LegacyServicer(legacy_pb2_grpc.LegacyServiceServicer):
    """`/upload_imgs`, `/upload_db` and `/verify`."""

    def __init__(
        self, workspaces: Workspaces, pipeline: Pipeline, metrics: GatewayMetrics, receiver: Receiver | None = None
    ):
        self._workspaces = workspaces
        self._receiver = receiver or Receiver()
        self._pipeline = pipeline
        self._metrics = metrics
        self._room = UploadMemory(MAX_UPLOADING)

    def UploadImgs(
        self, request_iterator: Iterator[legacy_pb2.LegacyUploadRequest], context: grpc.ServicerContext
    ) -> httpbody_pb2.HttpBody:
        keys = ("upload_code", "upload_message", "upload_results")
        return self._answer("upload_imgs", keys, lambda: self._upload_imgs(request_iterator))

    def UploadDb(self, request: legacy_pb2.LegacyFormRequest, context: grpc.ServicerContext) -> httpbody_pb2.HttpBody:
        keys = ("result_code", "result_message", "upload_results")
        return self._answer("upload_db", keys, lambda: self._upload_db(request.body))

    def Verify(self, request: legacy_pb2.LegacyFormRequest, context: grpc.ServicerContext) -> httpbody_pb2.HttpBody:
        keys = ("recognition_code", "recognition_message", "recognition_results")
        return self._answer("verify", keys, lambda: self._verify(request.body))

    def _answer(
        self, endpoint: str, keys: tuple[str, str, str], work: Callable[[], tuple[int, Json]]
    ) -> httpbody_pb2.HttpBody:
        """Runs a request and writes its answer; refusals that the contract knows become their code."""
        results: Json | None = None
        system_errors: Json | None = None
        why = ""
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
            elif isinstance(err, ModelUnavailable):
                system_errors = {"not_in_env": [], "env_errs": [f"SELECTED_MODELS: {err}"]}
        log.info("code %d %s", code, why)
        self._metrics.answered(endpoint, code)
        return _json(keys, code, results, system_errors)

    def _upload_imgs(self, requests: Iterator[legacy_pb2.LegacyUploadRequest]) -> tuple[int, Json]:
        requests = self._receiver.in_time(_until_gone(requests), lambda request: len(request.body.data))
        first = next(requests, legacy_pb2.LegacyUploadRequest())
        pieces = within_limit(_pieces(first, requests))
        try:
            if not first.id:
                raise Coded(110)
            workspace = self._workspaces.open()
            check_person_id(first.id, workspace.env.id_regex)
            with self._receiver.whole(pieces, workspace.env.upload_folder) as body:
                result = self._receiver.work(self._upload, workspace, first, body)
        finally:
            for _ in pieces:  # a client that is still sending would not read the answer
                pass
        return 119 if result.upload else 120, _upload_results(result)

    def _upload(
        self, workspace: Workspace, first: legacy_pb2.LegacyUploadRequest, body: Iterator[bytes]
    ) -> UploadResult:
        with self._room.place() as place:
            try:
                photos = read_photos(first.body.content_type, place.hold(body))
            except BrokenBase64 as err:
                raise Coded(193) from err
            except TooManyPhotos:
                return UploadResult(None, ())
            try:
                return self._pipeline.uploader.upload(workspace, first.id, photos)
            except TooManyPhotos:
                return UploadResult(None, tuple(PhotoResult(one.name, PhotoOutcome.REJECTED, None) for one in photos))

    def _upload_db(self, body: httpbody_pb2.HttpBody) -> tuple[int, Json]:
        form = _form(body, UPLOAD_DB_KEYS, 108)
        workspace = self._workspaces.open()
        delete_pickles, rebuild_db, in_place = (_is_true(form[key]) for key in UPLOAD_DB_KEYS[2:])
        enrolled = self._pipeline.enroller.enroll(workspace, form["upload_id"], form["name"], in_place)
        caches = self._delete_caches(workspace, delete_pickles)
        if enrolled.kept_name:
            kept = f"Photos were added, and the person keeps the name {enrolled.kept_name}."
            caches = {**caches, "message": f"{caches['message']} {kept}"}
        results = {
            "mysql_id": enrolled.record.record_id,
            "message_pickle": {"result": caches},
            "rebuilt_db": {"result": self._rebuild(workspace, rebuild_db, delete_pickles)},
            "resulting_imgs": {"main": list(enrolled.photos), "aug": list(enrolled.augmented)},
        }
        return _enrollment_code(enrolled, in_place), results

    def _verify(self, body: httpbody_pb2.HttpBody) -> tuple[int, Json]:
        form = _form(body, VERIFY_KEYS, 109)
        workspace = self._workspaces.open()
        options = VerifyOptions(*(_is_true(form[key]) for key in VERIFY_KEYS[1:]))
        verified = self._pipeline.verifier.verify(workspace, form["upload_id"], options)
        self._metrics.verified(verified.outcome, options)
        return CODE_OF_OUTCOME[verified.outcome], _recognition_results(verified)

    def _delete_caches(self, workspace: Workspace, wanted: bool) -> Json:
        """What happened, in words, and a code for each file."""
        if not wanted:
            return {"message": "delete_pickles was not set; nothing was deleted."}
        deleted = self._pipeline.rebuilder.delete_caches(workspace)
        message = "Cached representations were deleted." if deleted else "There was no cache file to delete."
        return {"message": message, **{name: CACHE_DELETED if done else CACHE_GONE for name, done in deleted.items()}}

    def _rebuild(self, workspace: Workspace, wanted: bool, deleted: bool) -> Json:
        """What happened, in words, and a code for each model."""
        if not wanted:
            return {"message": "rebuild_db was not set; the search index follows by itself."}
        if not deleted:
            return {"message": "Not needed without delete_pickles: the search index is up to date."}
        models = self._pipeline.rebuilder.rebuild(workspace)
        if models is None:
            return {"message": "The search indexes are being rebuilt from the photos; searches stay right meanwhile."}
        return {"message": "The search indexes were rebuilt from the photos.", **dict.fromkeys(models, INDEX_REBUILT)}


def _json(keys: tuple[str, str, str], code: int, results: Json | None, errors: Json | None) -> httpbody_pb2.HttpBody:
    """The contract's key order: results first for uploads, code first otherwise."""
    code_key, message_key, results_key = keys
    answer = {code_key: code, message_key: MESSAGES[code], results_key: results, "system_errors": errors}
    if code_key == "upload_code":
        answer = {results_key: results, **{key: answer[key] for key in (code_key, message_key, "system_errors")}}
    return httpbody_pb2.HttpBody(content_type="application/json", data=json.dumps(answer).encode("ascii"))


def _until_gone(requests: Iterator[legacy_pb2.LegacyUploadRequest]) -> Iterator[legacy_pb2.LegacyUploadRequest]:
    try:
        yield from requests
    except grpc.RpcError as err:
        raise ClientGone("the client went away") from err


def _pieces(
    first: legacy_pb2.LegacyUploadRequest, requests: Iterator[legacy_pb2.LegacyUploadRequest]
) -> Iterator[bytes]:
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


def _upload_results(result: UploadResult) -> Json:
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


def _enrollment_code(enrolled: EnrollmentResult, in_place: bool) -> int:
    if enrolled.outcome is EnrollmentOutcome.CREATED:
        return 838 if in_place else 800
    return 900 if enrolled.outcome is EnrollmentOutcome.REPLACED else 850


def _recognition_results(verified: VerificationResult) -> Json:
    distance = None if verified.distance is None else round(verified.distance, 6)
    return {"name": verified.name, "distance": distance}
