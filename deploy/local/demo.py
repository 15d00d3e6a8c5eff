"""A tour of the running system: enrolls a person, verifies a changed photo, tries a stranger, and erases the person.

The person is the astronaut Eileen Collins on the public-domain NASA photo that scikit-image's wheel carries; the stranger
is a face made from that photo by changing its proportions, or a photo given by --stranger.
"""

import argparse
import json
import os
import sys
import urllib.error
import uuid
from pathlib import Path

import cv2
import numpy as np

from deploy.local.client import Answer, Client

#: Where the astronaut's face is in her photo: x, y in pixels.
FACE_CENTRE = (224.4, 121.9)


def astronaut() -> np.ndarray:
    """uint8 (512, 512, 3) BGR: the photo in scikit-image's wheel, which `make demo` unpacks beside the environment."""
    path = Path(sys.prefix) / "demo" / "skimage" / "data" / "astronaut.png"
    photo = cv2.imread(str(path))
    if photo is None:
        raise FileNotFoundError(f"{path}: `make demo` unpacks it")
    return photo


def jpeg(pixels: np.ndarray, quality: int = 95) -> bytes:
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--stranger", type=Path, help="a photo of somebody else")
    options = parser.parse_args()
    try:
        return tour(Client(f"http://localhost:{options.port}", key=os.environ.get("RECO_KEY", "")), options.stranger)
    except urllib.error.HTTPError as err:
        print(f"{err}. Where there are keys: RECO_KEY=… make demo, with one of role enroll or admin", file=sys.stderr)
        return 1
    except (urllib.error.URLError, ConnectionError) as err:
        print(f"Nothing answers on port {options.port} ({err}). Start it first: make run", file=sys.stderr)
        return 1


def tour(client: Client, stranger: Path | None) -> int:
    """Prints each answer; returns 0 where the person was verified and the stranger was not."""
    photo = astronaut()
    person_id = f"RECO_ID_{uuid.uuid4().int % 10**9:09d}"
    brighter = cv2.convertScaleAbs(photo, alpha=1.1, beta=12)
    smaller = cv2.resize(photo, (440, 440), interpolation=cv2.INTER_AREA)

    photos = {"portrait.jpg": jpeg(photo), "brighter.jpg": jpeg(brighter), "mirrored.jpg": jpeg(photo[:, ::-1])}
    uploaded = show("1. upload three photos", client.upload(person_id, photos))
    upload_id = uploaded["upload_results"]["upload_id"]
    show("2. enroll them", client.upload_db(upload_id, "Eileen Collins"))
    probe = client.upload(person_id, {"today.jpg": jpeg(smaller, 90)})["upload_results"]["upload_id"]
    verified = show("3. verify a photo of the same person", client.verify(probe, skip_liveness=True))
    searched = show("4. search for whom it shows", client.verify(probe, skip_verify=True, skip_liveness=True))
    other = stranger.read_bytes() if stranger else jpeg(another_face(photo))
    probe = client.upload(person_id, {"stranger.jpg": other})["upload_results"]["upload_id"]
    refused = show("5. verify a stranger under that ID", client.verify(probe, skip_liveness=True))
    erase(client, person_id)
    codes = (verified["recognition_code"], searched["recognition_code"], refused["recognition_code"])
    return 0 if codes[:2] == (200, 134) and codes[2] in (100, 500, 630) else 1


def erase(client: Client, person_id: str) -> None:
    """So that the tour leaves nobody behind."""
    try:
        show("6. erase the person again", client.delete(f"/v1/people/{person_id}"))
    except urllib.error.HTTPError as err:
        if err.code != 403:
            raise
        print(f"\n{person_id} stays enrolled: this key may not erase people, one of role admin may.")


def show(title: str, answer: Answer) -> Answer:
    print(f"\n{title}\n{json.dumps(answer, indent=2)}")
    return answer


def another_face(photo: np.ndarray) -> np.ndarray:
    """The photo with the face's proportions changed until it is nobody's: longer, and narrower."""
    height, width = photo.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    across, down = (columns - FACE_CENTRE[0]) / 60, (rows - FACE_CENTRE[1]) / 75
    near = np.exp(-((across**2 + down**2) ** 2))
    columns += near * (24 * np.tanh(across) + 30 * across * down)
    rows -= near * 46 * np.tanh(down + 0.3)
    return cv2.remap(photo, columns, rows, cv2.INTER_CUBIC)


if __name__ == "__main__":
    sys.exit(main())
