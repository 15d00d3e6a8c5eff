"""What `.env` says, whole and checked."""

from dataclasses import dataclass
from pathlib import Path

from services.common.env import SqlSettings


@dataclass(frozen=True)
class Env:
    """A `.env` in which everything fits, as EnvFile.read gives it."""

    model_path: Path
    model_url: str
    model_name: str
    sql_uri: str
    sql_user: str
    sql_pass: str
    sql_schema: str
    sql_table: str
    id_col: str
    path_col: str
    name_col: str
    db_path: Path
    target_width: int
    target_height: int
    selected_models: tuple[str, ...]
    id_regex: str
    num_aug: int
    sim_func: str
    log_loc: Path
    ver_tol: int
    ver_tol_aug: int
    super_password: str
    score_tol: float
    upload_folder: Path

    @property
    def sql(self) -> SqlSettings:
        """The database."""
        return SqlSettings(self.sql_uri, self.sql_user, self.sql_pass, self.sql_schema)

    def __repr__(self) -> str:  # passwords do not belong in logs
        return f"Env(sql_uri={self.sql_uri!r}, selected_models={self.selected_models})"
