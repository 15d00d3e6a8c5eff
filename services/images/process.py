"""The process that decodes pictures for bounded.py: `python -m services.images.process SOCKET`, a socket's number.

Each job is a JSON line and an open file; each answer a JSON line and, where it went well, another open file, of raw
pixels. The process ends itself where a job takes too long, and is refused memory where it takes too much.
"""

import json
import mmap
import os
import resource
import signal
import socket
import sys
from dataclasses import asdict, dataclass
from typing import IO

import numpy as np

from services.common.errors import ImageTooLarge, InvalidImage
from services.images import formats, jpeg

#: Seconds of a processor, all threads together, and bytes beside the 40 million that the process has before.
MAX_SECONDS, MAX_BYTES = 3.0, 460_000_000

#: Bytes of a job's or an answer's line, at most.
MAX_LINE = 4096


@dataclass(frozen=True)
class Job:
    """What is to be decoded.

    Attributes:
        kind: "JPEG", or any other name of Pillow's.
        most_pixels: more are refused.
        factor: by which a JPEG is reduced.
        width, height: of a JPEG that is for services.images.jpeg.decode; 0 of one that is for Pillow.
    """

    kind: str
    most_pixels: int
    factor: int = 1
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Answer:
    """How it went; `error` is empty or says why not, and `is_too_large` whether that is its size."""

    width: int = 0
    height: int = 0
    orientation: int = 1
    error: str = ""
    is_too_large: bool = False


class SharedPixels:
    """Pixels in memory that another process can see."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("pixels")

    def allocate(self, height: int, width: int) -> np.ndarray:
        """uint8 (height, width, 3)."""
        os.ftruncate(self.fd, height * width * 3)
        return map_pixels(self.fd, height, width)


def map_pixels(fd: int, height: int, width: int) -> np.ndarray:
    """What such an open file holds, writable; gone with its last use."""
    return np.frombuffer(mmap.mmap(fd, height * width * 3), np.uint8).reshape(height, width, 3)


def decode(job: Job, file: IO[bytes], pixels: SharedPixels) -> Answer:
    """Decodes into `pixels`."""
    try:
        if job.kind == "JPEG" and job.width:
            height, width = -(-job.height // job.factor), -(-job.width // job.factor)
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            buffer = pixels.allocate(height, width)
            jpeg.decode(data, job.width, job.height, job.factor, buffer)
            return Answer(width, height)
        decoded, orientation = formats.decode(file, job.kind, job.most_pixels, pixels.allocate)
        return Answer(decoded.shape[1], decoded.shape[0], orientation)
    except InvalidImage as err:
        return Answer(error=str(err)[:1000], is_too_large=isinstance(err, ImageTooLarge))


def main(number: int) -> None:
    """Does jobs until the socket is closed."""
    _open_plugins()
    _limit_memory()
    with socket.socket(fileno=number) as asker:
        _send(asker, Answer(), SharedPixels())  # we are ready
        while True:
            line, fds, _, _ = socket.recv_fds(asker, MAX_LINE, 1)
            if not line:
                return
            signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)  # its signal ends the process
            pixels = SharedPixels()
            with open(fds[0], "rb") as file:
                answer = decode(Job(**json.loads(line)), file, pixels)
            signal.setitimer(signal.ITIMER_PROF, 0)
            _send(asker, answer, pixels)


def _send(asker: socket.socket, answer: Answer, pixels: SharedPixels) -> None:
    socket.send_fds(asker, [json.dumps(asdict(answer)).encode()], [pixels.fd])
    os.close(pixels.fd)


def _open_plugins() -> None:
    """Loads all that Pillow may need, so that it counts as what was there before."""
    from pi_heif import register_heif_opener
    from PIL import AvifImagePlugin, Image

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
    Image.init()


def _limit_memory() -> None:
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    most = pages * resource.getpagesize() + MAX_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main(int(sys.argv[1]))
