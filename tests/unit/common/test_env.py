"""Every key of `.env` is checked, and a mended file counts at once."""

from pathlib import Path
from typing import Any

import pytest

from services.common.env import EnvFile, EnvInvalid
from services.common.env_checks import CHECKS
from services.gateway.env import Env
from tests.machine import ROOT


@pytest.fixture
def values(tmp_path: Path) -> dict[str, str]:
    """The values of .env.example, whose folders exist."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    for folder in ("db", "uploads"):
        (tmp_path / "var" / folder).mkdir(parents=True)
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def write(path: Path, values: dict[str, str]) -> None:
    path.write_text("\n".join(f"{key}={value}" for key, value in values.items()))


def read(values: dict[str, str], folder: Path) -> dict[str, Any]:
    write(folder / ".env", values)
    return EnvFile(folder / ".env").read()


def test_the_example_fits_and_names_every_key_of_the_original(values: dict[str, str], tmp_path: Path):
    env = read(values, tmp_path)
    assert set(values) == set(CHECKS) == {key.upper() for key in env}
    assert env["db_path"] == tmp_path / "var" / "db"
    assert env["selected_models"] == ("MobileFaceNet",)


@pytest.mark.parametrize("key", CHECKS)
def test_a_missing_key_is_named(values: dict[str, str], tmp_path: Path, key: str):
    del values[key]
    with pytest.raises(EnvInvalid) as invalid:
        read(values, tmp_path)
    assert invalid.value.not_in_env == [key]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL_URL", "drive"),
        ("MODEL_NAME", "../model.h5"),
        ("MODEL_NAME", "AnotherNet"),
        ("SQL_URI", "postgres://x"),
        ("SQL_URI", "local host"),
        ("SQL_TABLE", "t; DROP TABLE x"),
        ("SQL_TABLE", "reco_templates"),
        ("ID_COL", "a`b"),
        ("ID_COL", "reco_name"),
        ("ID_COL", "ID"),
        ("DB_PATH", "nowhere"),
        ("TARGET_WIDTH", "-1"),
        ("TARGET_HEIGHT", "100000"),
        ("SELECTED_MODELS", "Dlib,Unknown"),
        ("SELECTED_MODELS", ""),
        ("ID_REGEX", "("),
        ("ID_REGEX", r"(a)\1"),
        ("NUM_AUG", "4.5"),
        ("SIM_FUNC", "manhattan"),
        ("LOG_LOC", "var/db"),
        ("LOG_LOC", "/dev/null/log"),
        ("LOG_LOC", "/proc/reco/log"),
        ("UPLOAD_FOLDER", "var"),
        ("UPLOAD_FOLDER", "var/db"),
        ("VER_TOL", "0"),
        ("VER_TOL_AUG", ""),
        ("SUPER_PASSWORD", "password"),
        ("SCORE_TOL", "11"),
        ("UPLOAD_FOLDER", ""),
    ],
)
def test_a_value_that_does_not_fit_is_named(values: dict[str, str], tmp_path: Path, key: str, value: str):
    with pytest.raises(EnvInvalid) as invalid:
        read(values | {key: value}, tmp_path)
    assert invalid.value.not_in_env == []
    assert [error.partition(":")[0] for error in invalid.value.env_errs] == [key]


def test_models_are_known_by_any_case_and_listed_once(values: dict[str, str], tmp_path: Path):
    env = read(values | {"SELECTED_MODELS": "arcface, Dlib,ArcFace"}, tmp_path)
    assert env["selected_models"] == ("ArcFace", "Dlib")


def test_all_that_is_wrong_is_named_at_once(values: dict[str, str], tmp_path: Path):
    del values["LOG_LOC"]
    with pytest.raises(EnvInvalid) as invalid:
        read(values | {"SELECTED_MODELS": "Dlib,Nose", "VER_TOL": "none"}, tmp_path)
    assert invalid.value.not_in_env == ["LOG_LOC"]
    assert invalid.value.env_errs == [
        "SELECTED_MODELS: Nose is not known; choose from VGG-Face, Facenet, Facenet512, OpenFace, DeepFace, DeepID, "
        "ArcFace, Dlib, GhostFaceNet, MobileFaceNet, FacePlugin, AuraFace, SFace",
        "VER_TOL: 'none' is not a whole number from 1 to 10000",
    ]


def test_some_settings_can_be_had_while_others_do_not_fit(values: dict[str, str], tmp_path: Path):
    write(tmp_path / ".env", values | {"VER_TOL": "none"})
    assert EnvFile(tmp_path / ".env").pick("NUM_AUG", "SIM_FUNC") == {"num_aug": 4, "sim_func": "cosine"}


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path):
    with pytest.raises(EnvInvalid) as invalid:
        EnvFile(tmp_path / ".env").pick("NUM_AUG")
    assert invalid.value.env_errs == [f".env: there is none at {tmp_path}/.env; copy .env.example there"]


def test_a_changed_file_is_read_again(values: dict[str, str], tmp_path: Path):
    path = tmp_path / ".env"
    env_file = EnvFile(path)
    with pytest.raises(EnvInvalid) as invalid:
        env_file.read()
    assert invalid.value.not_in_env == list(CHECKS)
    write(path, values)
    assert env_file.read()["num_aug"] == 4
    write(path, values | {"NUM_AUG": "12"})
    assert env_file.read()["num_aug"] == 12


@pytest.mark.parametrize("interval", [0, 60])
def test_folders_are_looked_for_now_and_then(values: dict[str, str], tmp_path: Path, interval: float):
    write(tmp_path / ".env", values)
    file = EnvFile(tmp_path / ".env", interval)
    folder = file.read()["db_path"]
    folder.rename(tmp_path / "elsewhere")
    if interval:
        assert file.read()["db_path"] == folder
    else:
        with pytest.raises(EnvInvalid, match="DB_PATH"):
            file.read()


def test_passwords_stay_out_of_what_is_printed(values: dict[str, str], tmp_path: Path):
    env = Env(**read(values | {"SQL_PASS": "s3cret", "SUPER_PASSWORD": "S3cret!s3cret"}, tmp_path))
    assert "s3cret" not in repr(env) + repr(env.sql)
