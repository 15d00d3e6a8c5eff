"""Of who is removed only a bucket is kept: version 0.1 once kept the person's row, without models."""

import secrets

from alembic import op
from sqlalchemy import BigInteger, String, column, delete, inspect, select, table, update

revision = "0001"
down_revision = None

people = table("reco_galleries", column("person_id", String), column("models", String))
templates = table("reco_templates", column("person_id", String))
revisions = table("reco_revision", column("epoch", BigInteger))


def upgrade() -> None:
    """Deletes such rows; a new epoch has everybody read the gallery anew, without them."""
    connection = op.get_bind()
    if not all(map(inspect(connection).has_table, (people.name, templates.name, revisions.name))):
        return
    has_templates = select(templates.c.person_id).where(templates.c.person_id == people.c.person_id).exists()
    if connection.execute(delete(people).where(people.c.models == "", ~has_templates)).rowcount:
        connection.execute(update(revisions).values(epoch=secrets.randbits(62)))
