"""What Alembic runs: the migrations on the connection it was handed, inside the caller's transaction."""

from __future__ import annotations

from alembic import context

from agentkit.ledger import models

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=models.METADATA, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
