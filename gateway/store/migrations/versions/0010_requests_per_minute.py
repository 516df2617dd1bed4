"""How many requests a key may send in a minute, where that differs from the gateways' setting."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("requests_per_minute", sa.Integer()))


def downgrade() -> None:
    op.drop_column("api_keys", "requests_per_minute")
