"""The database that `.env` names, and what is said where it cannot be had."""

import sys
from pathlib import Path

import pytest

from services.common.database import Database
from services.common.env import EnvInvalid, SqlSettings


def test_a_driver_that_is_not_installed_is_the_settings_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "MySQLdb", None)  # as if it were not there
    with pytest.raises(EnvInvalid, match="SQL_URI: the MySQL driver is not installed.*make mysql"):
        Database(tmp_path).engine(SqlSettings("localhost", "reco", "secret", "reco"))
