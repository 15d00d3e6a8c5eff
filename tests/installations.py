"""Installations for tests of people's data as a whole: made by the storage itself, without services."""

from pathlib import Path

import cv2
import numpy as np

from deploy.data.installation import Installation
from services.embedder.gallery.templates import StoredPhoto
from services.gateway.storage.profiles import Details, PhotoFacts, Profile
from services.gateway.storage.types import FacePhoto, JournalEntry, PersonRecord, stripe_of
from tests.machine import ROOT

MODEL = "Dlib:5cafd97073ffddc2"
LANDMARKS = ((70.0, 90.0), (150.0, 90.0), (110.0, 130.0), (80.0, 170.0), (140.0, 170.0))


def make_env(folder: Path, **settings: str) -> Path:
    """`.env` in a folder, which gets the folders that it names."""
    for name in ("db", "uploads", "log"):
        (folder / "var" / name).mkdir(parents=True, exist_ok=True)
    lines = (ROOT / ".env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    pairs = {**example, "SELECTED_MODELS": "Dlib", **settings}
    (folder / ".env").write_text("".join(f"{key}={value}\n" for key, value in pairs.items()))
    return folder / ".env"


def enroll(installation: Installation, number: int, photos: int = 2) -> PersonRecord:
    """Person RECO_ID_<number>, all but the last step of an enrollment done: there is no journal entry any more."""
    rng, whose = np.random.default_rng(number), f"RECO_ID_{number}"
    names = [f"{number:012x}-{photo:03d}.png" for photo in range(1, photos + 1)]
    folder = f"ann_{number}-{whose}"
    faces = [FacePhoto(name, False, _png(rng), LANDMARKS) for name in names]
    enrollment_id = f"{stripe_of(whose):03d}-{number:032x}"
    installation.photos.stage(enrollment_id, folder, faces)
    profile = Profile(0, whose, f"ann_{number}", f"Ann McLee {number}", labels=("staff",), created_at=1, updated_at=2)
    details = Details(profile, tuple(PhotoFacts(name) for name in names))
    record = PersonRecord(0, whose, f"ann_{number}", installation.photos.path_of(folder))
    entry = JournalEntry(enrollment_id, whose, f"{whose}-1", folder)
    record = installation.records.commit(record, entry, details)
    installation.photos.publish(enrollment_id, folder)
    vectors = [{MODEL: rng.normal(size=128).astype(np.float32)} for _ in names]
    stored = [StoredPhoto(name, False, vector) for name, vector in zip(names, vectors, strict=True)]
    installation.gallery.enroll(whose, stored, ())
    installation.records.delete_entry(enrollment_id)
    return record


def _png(rng: np.random.Generator) -> bytes:
    return cv2.imencode(".png", rng.integers(0, 255, (48, 48, 3), dtype=np.uint8))[1].tobytes()
