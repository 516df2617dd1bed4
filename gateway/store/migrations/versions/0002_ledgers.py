"""Which orgs have a ledger; the journal by time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ledgers",
        sa.Column("org", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Text(), nullable=False),
        sa.Column("began_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("rebuilt_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("org", name=op.f("pk_ledgers")),
    )
    op.create_index(op.f("ix_journal_org_at_ms"), "journal", ["org", "at_ms"], unique=False)
    op.execute(
        "INSERT INTO ledgers (org, epoch, began_at_ms) SELECT org, '', MIN(at_ms) FROM journal GROUP BY org"
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_journal_org_at_ms"), table_name="journal")
    op.drop_table("ledgers")
