"""What the gateway's variables may be."""

import pytest

from services.gateway.settings import Settings


@pytest.mark.parametrize(("decision", "fused"), [("", False), ("pairs", False), ("fused", True)])
def test_how_several_models_decide(monkeypatch: pytest.MonkeyPatch, decision: str, fused: bool):
    monkeypatch.setenv("RECO_DECISION", decision)
    assert Settings.from_environment().fused is fused


def test_no_other_way_to_decide(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECO_DECISION", "majority")
    with pytest.raises(SystemExit, match="RECO_DECISION=majority"):
        Settings.from_environment()
