"""The tables as version 0.1 has made them."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Nothing to change: those that earlier versions lacked are made as they are now."""
