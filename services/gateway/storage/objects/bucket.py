"""A bucket of an object store that speaks S3, by boto3, which is imported here only, and only where PHOTOS_URI is set.

Relied on is what S3 has promised since 2020, and its like: an object is there whole or not at all, and who reads or lists
after a write was answered sees it.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from services.gateway.storage.objects.place import BucketPlace, ObjectStoreUnavailable

log = logging.getLogger("reco")

T = TypeVar("T")
R = TypeVar("R")

#: Requests that one gateway has under way at a time for what is done in many.
PARALLEL = 16

#: Seconds that connecting and each answer may take, and how often a request is sent; between tries boto3 waits.
CONNECT_TIMEOUT = 3
READ_TIMEOUT = 20
TRIES = 3

ABSENT = ("404", "NoSuchKey", "NotFound")
#: The object is not, or not any more, what it was when it was read.
CHANGED = ("412", "PreconditionFailed", "409", "ConditionalRequestConflict")
#: Of a server that does not know versions, or tells this account nothing of them.
UNTOLD = ("NotImplemented", "501", "MethodNotAllowed", "AccessDenied", "403")


@dataclass(frozen=True)
class Stored:
    """An object as a list tells of it; `stored_at`: seconds since 1970, by the store's clock."""

    key: str
    size: int
    stored_at: float


class Bucket:
    """The objects below a place; keys are relative to it. Safe to use from several threads.

    Every method raises ObjectStoreUnavailable, which is an OSError too: for a disk that fails is answered the same.
    """

    def __init__(self, place: BucketPlace):
        """Raises ValueError where the environment says what no client can be made of."""
        self._place = place
        self._client = _client()
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="objects")
        self._forgets = False

    @property
    def uri(self) -> str:
        """Where it is, ending in a slash."""
        return self._place.uri

    def put(self, key: str, data: bytes) -> None:
        """Writes an object, over one that is there."""
        self._require_forgetful()
        with _told("written"):
            self._client.put_object(**self._named(key), Body=data)

    def replace(self, key: str, data: bytes, etag: str) -> bool:
        """Writes over an object, unless it has changed or gone since it had that ETag; then False."""
        with _told("written"):
            try:
                self._client.put_object(**self._named(key), Body=data, IfMatch=etag)
            except ClientError as err:
                if _code(err) in (*ABSENT, *CHANGED):
                    return False
                raise
        return True

    def get(self, key: str, first: int = 0, size: int | None = None) -> bytes:
        """An object, or `size` bytes of it from `first` on, as far as there are any; raises FileNotFoundError."""
        return self.get_with_etag(key, first, size)[0]

    def get_with_etag(self, key: str, first: int = 0, size: int | None = None) -> tuple[bytes, str]:
        """The same, and the object's ETag."""
        part = {} if size is None else {"Range": f"bytes={first}-{first + size - 1}"}
        with _told("read", key):
            answer = self._client.get_object(**self._named(key), **part)
            return answer["Body"].read(), answer["ETag"]

    def find(self, key: str) -> Stored | None:
        """What a list would tell of an object."""
        try:
            with _told("read", key):
                answer = self._client.head_object(**self._named(key))
        except FileNotFoundError:
            return None
        return Stored(key, answer["ContentLength"], answer["LastModified"].timestamp())

    def copy(self, key: str, target: str) -> None:
        """Copies an object within the store, over one that is there; raises FileNotFoundError."""
        self._require_forgetful()
        source = {"Bucket": self._place.bucket, "Key": self._place.prefix + key}
        with _told("written", key):
            self._client.copy_object(**self._named(target), CopySource=source)

    def delete(self, keys: Iterable[str]) -> list[str]:
        """Deletes objects, those that are not there too; returns what could not be deleted, each with the reason."""
        return [left for left in self.each(self._delete, keys) if left]

    def objects(self, prefix: str, after: str = "") -> Iterator[Stored]:
        """Objects whose keys begin so, in the order of their keys, behind one of them."""
        for page in self._pages(prefix, after):
            for one in page.get("Contents", ()):
                yield Stored(self._key(one["Key"]), one["Size"], one["LastModified"].timestamp())

    def folders(self, prefix: str) -> Iterator[str]:
        """What is between a prefix and the next slash, of all keys that begin so."""
        for page in self._pages(prefix, Delimiter="/"):
            for one in page.get("CommonPrefixes", ()):
                yield self._key(one["Prefix"])[len(prefix) :].removesuffix("/")

    def has_any(self, prefix: str) -> bool:
        """Whether a key begins so."""
        return next(self.objects(prefix), None) is not None

    def each(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Calls a function for many, some at a time, each to its end; then the first failure is raised."""
        futures = [self._pool.submit(function, item) for item in list(items)]  # none is begun before all are known
        failures = [err for err in (future.exception() for future in futures) if err]
        if failures:
            raise failures[0]
        return [future.result() for future in futures]

    def _delete(self, key: str) -> str:
        try:
            with _told("deleted"):
                self._client.delete_object(**self._named(key))
        except ObjectStoreUnavailable as err:
            return f"{key} ({err})"
        return ""

    def _pages(self, prefix: str, after: str = "", **more: str) -> Iterator[Any]:
        pages = self._client.get_paginator("list_objects_v2")
        start = {"StartAfter": self._place.prefix + after} if after else {}
        with _told("listed"):
            yield from pages.paginate(Bucket=self._place.bucket, Prefix=self._place.prefix + prefix, **start, **more)

    def _require_forgetful(self) -> None:
        """What is erased must be gone: refuses to write where the bucket keeps earlier versions."""
        if self._forgets:
            return
        with _told("written"):
            try:
                status = self._client.get_bucket_versioning(Bucket=self._place.bucket).get("Status")
            except ClientError as err:
                if _code(err) not in UNTOLD:
                    raise
                log.warning("whether %s keeps versions of what is erased cannot be told: %s", self.uri, _code(err))
                status = None
        if status == "Enabled":
            raise ObjectStoreUnavailable(f"{self.uri} keeps versions of what is erased; suspend its versioning")
        self._forgets = True

    def _named(self, key: str) -> dict[str, str]:
        return {"Bucket": self._place.bucket, "Key": self._place.prefix + key}

    def _key(self, full: str) -> str:
        return full[len(self._place.prefix) :]


def _client() -> Any:
    """Endpoint, region and keys are those that the environment names; other stores than Amazon's may have no names for
    their buckets, and are asked by path."""
    try:
        session = boto3.Session()
        client = session.client("s3", config=_config("auto"))
        if ".amazonaws." not in client.meta.endpoint_url:
            client = session.client("s3", config=_config("path"))
    except BotoCoreError as err:
        raise ValueError(str(err)) from err
    return client


def _config(addressing: str) -> Config:
    return Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retries={"mode": "standard", "total_max_attempts": TRIES},
        max_pool_connections=2 * PARALLEL,
        s3={"addressing_style": addressing},
        request_checksum_calculation="when_required",  # what only some servers know is not asked of any
        response_checksum_validation="when_required",
    )


@contextmanager
def _told(done: str, key: str = "") -> Iterator[None]:
    """Turns boto3's errors into ours; of an object that is not there into FileNotFoundError, where it is named."""
    try:
        yield
    except ClientError as err:
        if key and _code(err) in ABSENT:
            raise FileNotFoundError(key) from err
        raise ObjectStoreUnavailable(f"the object store could not be {done}: {_code(err)}") from err
    except BotoCoreError as err:
        raise ObjectStoreUnavailable(f"the object store could not be {done}: {type(err).__name__}") from err


def _code(err: ClientError) -> str:
    return str(err.response.get("Error", {}).get("Code", ""))
