"""The `.env` that a first `make run` makes."""

from pathlib import Path

from deploy.local.first_env import settings
from services.common.env import EnvFile
from services.common.errors import ModelUnavailable
from tests.machine import ROOT

EXAMPLE = (ROOT / ".env.example").read_text()


def test_it_is_the_example_where_its_recognisers_can_be_had():
    asked: list[str] = []
    example = EXAMPLE.replace("SELECTED_MODELS=", "SELECTED_MODELS=One, ")
    assert settings(example, asked.append) == (example, "")
    assert asked == ["One", "MobileFaceNet"]


def test_it_names_dlib_and_says_why_where_they_cannot(tmp_path: Path):
    def refuse(name: str) -> None:
        raise ModelUnavailable(f"{name} could not be had:\nno \\1 SELECTED_MODELS=here")

    text, complaint = settings(EXAMPLE, refuse)
    assert complaint == "MobileFaceNet could not be had: no \\1 SELECTED_MODELS=here"
    assert f"made: {complaint}\nSELECTED_MODELS=Dlib\n" in text
    (tmp_path / ".env").write_text(text)
    assert EnvFile(tmp_path / ".env").pick("SELECTED_MODELS") == {"selected_models": ("Dlib",)}
    assert [line for line in text.splitlines() if line not in EXAMPLE.splitlines()][1:] == ["SELECTED_MODELS=Dlib"]
