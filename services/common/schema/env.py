"""What Alembic runs to migrate: on the connection, and with the version table, that Schema gives it."""

from alembic import context

known = context.config.attributes
context.configure(connection=known["connection"], version_table=known["version_table"])
context.run_migrations()
