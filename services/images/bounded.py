"""Decodes in processes of their own what may cost more than a file's size tells: each is ended and replaced where it does.

A process takes what decoding.py says of a processor and of memory, and no more; so no file costs more, whatever faults a
library has.
"""

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from functools import cache

import numpy as np

from services.common import call
from services.common.errors import ImageTooLarge, InvalidImage, RecoError
from services.common.workers import Workers, processors
from services.images.process import MAX_LINE, Answer, Job, map_pixels

#: Seconds that a process may take in all, however busy the machine; and after which it is asked whether the caller is gone.
MAX_WAIT, INTERVAL = 30.0, 0.1

#: Calls that may wait for a process.
WAITING = 256


class DecoderUnavailable(RecoError):
    """No process can be started; trying again later is right."""

    status = "UNAVAILABLE"
    reason = "DECODER_UNAVAILABLE"


class Decoder:
    """A process that decodes one picture after the other.

    Attributes:
        is_ready: whether it can be asked: it is not once a picture was too much for it, or was given up.
    """

    def __init__(self) -> None:
        """Raises DecoderUnavailable: it does not start."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.images.process", str(theirs.fileno())],
                env=_environment(),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self.is_ready = False
        try:
            _, fd = self._receive()
            os.close(fd)
            self.is_ready = True
        except InvalidImage:
            raise DecoderUnavailable("the process that decodes pictures does not start")
        finally:
            if not self.is_ready:
                self.close()

    def decode(self, job: Job, data: bytes) -> tuple[np.ndarray, int]:
        """The pixels, uint8 (height, width, 3), BGR, and the EXIF orientation by which they are still to be turned.

        Raises:
            InvalidImage, ImageTooLarge: see services.images.decode.decode.
            Cancelled, DeadlineExceeded: the caller is gone.
        """
        self.is_ready = False
        self._send(job, data)
        answer, fd = self._receive()
        self.is_ready = True
        try:
            if answer.error:
                raise ImageTooLarge(answer.error) if answer.is_too_large else InvalidImage(answer.error)
            return map_pixels(fd, answer.height, answer.width), answer.orientation
        finally:
            os.close(fd)

    def _send(self, job: Job, data: bytes) -> None:
        fd = os.memfd_create("picture")
        with open(fd, "r+b") as file:
            file.write(data)
            file.seek(0)
            try:
                socket.send_fds(self._socket, [json.dumps(asdict(job)).encode()], [fd])
            except OSError as err:
                raise DecoderUnavailable(f"the process that decodes pictures is gone: {err}")

    def _receive(self) -> tuple[Answer, int]:
        """An answer and its open file."""
        self._wait()
        try:
            line, fds, _, _ = socket.recv_fds(self._socket, MAX_LINE, 1)
        except ConnectionError:
            line = b""
        if not line:
            raise InvalidImage("the picture costs more time or memory than any may")
        return Answer(**json.loads(line)), fds[0]

    def _wait(self) -> None:
        ready = select.poll()
        ready.register(self._socket, select.POLLIN)
        ends = time.monotonic() + MAX_WAIT
        while not ready.poll(1000 * INTERVAL):
            call.check()
            if time.monotonic() > ends:
                raise InvalidImage(f"the picture could not be decoded in {MAX_WAIT:.0f} s")

    def is_alive(self) -> bool:
        """Whether it can be asked again."""
        return self._process.poll() is None

    def close(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._socket.close()


def _environment() -> dict[str, str]:
    """Ours, but for what would have a process hold more memory than it needs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    path = os.pathsep.join(filter(None, sys.path))
    return kept | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}


class Decoders:
    """As many processes as there are processors, started when they are first needed. Safe to use from several threads."""

    def __init__(self) -> None:
        self._workers = Workers(processors(), WAITING)
        self._lock = threading.Lock()
        self._idle: list[Decoder] = []

    def decode(self, job: Job, data: bytes) -> tuple[np.ndarray, int]:
        """As Decoder.decode, by a process that is free.

        Raises:
            Overloaded, Cancelled, DeadlineExceeded: see services.common.workers.
        """
        return self._workers.run(self._decode, job, data)

    def close(self) -> None:
        """Ends the processes that are idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for decoder in idle:
            decoder.close()

    def _decode(self, job: Job, data: bytes) -> tuple[np.ndarray, int]:
        decoder = self._take()
        try:
            return decoder.decode(job, data)
        finally:
            if decoder.is_ready:
                self._give(decoder)
            else:
                decoder.close()

    def _take(self) -> Decoder:
        with self._lock:
            while self._idle:
                decoder = self._idle.pop()
                if decoder.is_alive():
                    return decoder
                decoder.close()
        try:
            return Decoder()
        except OSError as err:
            raise DecoderUnavailable(f"no process can be started that decodes pictures: {err}")

    def _give(self, decoder: Decoder) -> None:
        with self._lock:
            self._idle.append(decoder)


@cache
def decoders() -> Decoders:
    """Those of this process."""
    return Decoders()
