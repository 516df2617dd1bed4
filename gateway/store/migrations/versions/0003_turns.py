"""In whose turn the journal was read; the journal by hold."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("ledgers", sa.Column("turn", sa.Text(), nullable=True))
    op.create_index(op.f("ix_journal_org_hold"), "journal", ["org", "hold"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_journal_org_hold"), table_name="journal")
    op.drop_column("ledgers", "turn")
