"""Where in an object store photos and uploads are."""

import os
import re
from dataclasses import dataclass

from services.gateway.errors import StorageRefused


@dataclass(frozen=True)
class BucketPlace:
    """A bucket, and what all keys in it begin with: empty, or a path that ends in a slash."""

    bucket: str
    prefix: str = ""

    @property
    def uri(self) -> str:
        """As PHOTOS_URI names it, ending in a slash."""
        return f"s3://{self.bucket}/{self.prefix}"


def parse_place(uri: str) -> BucketPlace:
    """The place that `s3://bucket` or `s3://bucket/prefix` names; raises ValueError."""
    match = re.fullmatch(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/(?P<prefix>[\w./=+-]*))?", uri)
    prefix = (match["prefix"] or "").strip("/") if match else ""
    if not match or any(part in ("", ".", "..") for part in prefix.split("/") if prefix):
        raise ValueError(f"{uri!r} is not s3://bucket or s3://bucket/prefix")
    return BucketPlace(match["bucket"], f"{prefix}/" if prefix else "")


def place_of_environment() -> BucketPlace | None:
    """The one that PHOTOS_URI names, if any; SystemExit says what is wrong with it."""
    uri = os.environ.get("PHOTOS_URI")
    try:
        return parse_place(uri) if uri else None
    except ValueError as err:
        raise SystemExit(f"PHOTOS_URI: {err}") from err


class ObjectStoreUnavailable(StorageRefused, OSError):
    """The object store cannot be reached, or refuses. To the pipeline it is what a disk is that fails."""

    def __init__(self, why: str):
        super().__init__(why)
        self.strerror = why
