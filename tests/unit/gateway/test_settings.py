"""What the gateway's variables may be."""

import pytest

from services.gateway.settings import Settings
from services.gateway.storage.objects.place import BucketPlace


@pytest.mark.parametrize(("decision", "fused"), [("", False), ("pairs", False), ("fused", True)])
def test_how_several_models_decide(monkeypatch: pytest.MonkeyPatch, decision: str, fused: bool):
    monkeypatch.setenv("RECO_DECISION", decision)
    assert Settings.from_environment().fused is fused


def test_where_photos_may_be(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PHOTOS_URI", "")
    assert Settings.from_environment().photos is None
    monkeypatch.setenv("PHOTOS_URI", "s3://bucket/reco/")
    assert Settings.from_environment().photos == BucketPlace("bucket", "reco/")
    for uri in ("bucket", "s3://", "s3://bucket/../other", "file:///srv"):
        monkeypatch.setenv("PHOTOS_URI", uri)
        with pytest.raises(SystemExit, match=f"PHOTOS_URI: '{uri}'"):
            Settings.from_environment()


def test_no_other_way_to_decide(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECO_DECISION", "majority")
    with pytest.raises(SystemExit, match="RECO_DECISION=majority"):
        Settings.from_environment()
