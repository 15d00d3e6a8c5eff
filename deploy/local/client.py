"""A small client of the REST contract, for the demo, the tests and the benchmarks."""

import json
import urllib.parse
import urllib.request
import uuid
from collections.abc import Mapping
from typing import Any

#: What the REST contract answers, by its keys.
Answer = dict[str, Any]


class Client:
    """Speaks the REST contract; an HTTP error is raised as urllib.error.HTTPError."""

    def __init__(self, base: str, timeout: float = 120, key: str = ""):
        """`base`: such as http://localhost:8001. `key`: of the client; none where it is empty."""
        self._base = base
        self._key = {"authorization": f"Bearer {key}"} if key else {}
        self._timeout = timeout

    def upload(self, person_id: str, photos: Mapping[str, bytes]) -> Answer:
        """/upload_imgs with photos by file name."""
        boundary = uuid.uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="photo"; filename='
        parts = [f'{head}"{name}"\r\n\r\n'.encode() + data + b"\r\n" for name, data in photos.items()]
        body = b"".join(parts) + f"--{boundary}--\r\n".encode()
        query = urllib.parse.urlencode({"id": person_id})
        return self.post(f"/upload_imgs?{query}", body, f"multipart/form-data; boundary={boundary}")

    def upload_db(self, upload_id: str, name: str, **flags: bool) -> Answer:
        """/upload_db; flags that are not given are false."""
        flags = {"delete_pickles": False, "rebuild_db": False, "in_place": False, **flags}
        return self.form("/upload_db", upload_id=upload_id, name=name, **flags)

    def verify(self, upload_id: str, **flags: bool) -> Answer:
        """/verify; flags that are not given are false."""
        return self.form(
            "/verify",
            upload_id=upload_id,
            **{"skip_verify": False, "skip_db_search": False, "skip_liveness": False, **flags},
        )

    def form(self, path: str, **fields: object) -> Answer:
        """POSTs an urlencoded form."""
        body = urllib.parse.urlencode(fields).encode()
        return self.post(path, body, "application/x-www-form-urlencoded")

    def post(self, path: str, body: bytes, content_type: str) -> Answer:
        """POSTs a body and reads the JSON answer."""
        return self._read(
            urllib.request.Request(self._base + path, body, {"Content-Type": content_type, **self._key}, method="POST")
        )

    def delete(self, path: str) -> Answer:
        """Sends DELETE and reads the JSON answer."""
        return self._read(urllib.request.Request(self._base + path, headers=self._key, method="DELETE"))

    def _read(self, request: urllib.request.Request) -> Answer:
        with urllib.request.urlopen(request, timeout=self._timeout) as answer:
            read: Answer = json.load(answer)
            return read
