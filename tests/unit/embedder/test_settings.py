import pytest

from services.embedder.settings import Settings


def test_what_vector_uri_may_be(monkeypatch):
    for value, taken in (("", ""), (" http://milvus:19530 ", "http://milvus:19530"), ("/a/b.db", "/a/b.db")):
        monkeypatch.setenv("VECTOR_URI", value)
        assert Settings.from_environment().vector_uri == taken
    monkeypatch.setenv("VECTOR_TOKEN", "root:secret")
    assert "secret" not in repr(Settings.from_environment())
    for value in ("milvus:19530", "/a/folder", "ftp://milvus/x.db"):
        monkeypatch.setenv("VECTOR_URI", value)
        with pytest.raises(SystemExit, match="VECTOR_URI"):
            Settings.from_environment()
