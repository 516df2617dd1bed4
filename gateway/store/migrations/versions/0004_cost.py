"""What requests cost, where that is known.

The cost of what was charged before is not known: every such charge counts as one without a price.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BOUNDS = ("central", "high")


def upgrade() -> None:
    with op.batch_alter_table("journal") as journal:
        for bound in BOUNDS:
            for name in ("cost_uusd", "unpriced"):
                column = sa.Column(f"{bound}_{name}", sa.BigInteger(), nullable=False, server_default="0")
                journal.add_column(column)
    op.execute(
        "UPDATE journal SET central_unpriced = 1, high_unpriced = 1 WHERE kind IN ('commit', 'expire', 'orphan')"
    )
    # A late release takes a whole charge back, a late settlement leaves it.
    op.execute(
        "UPDATE journal SET central_unpriced = -1, high_unpriced = -1 WHERE kind = 'late'"
        " AND (org, request_id) IN (SELECT org, id FROM requests WHERE energy_uwh = 0 AND images = 0)"
    )
    with op.batch_alter_table("journal") as journal:
        for bound in BOUNDS:
            for name in ("cost_uusd", "unpriced"):
                journal.alter_column(f"{bound}_{name}", server_default=None)
    with op.batch_alter_table("requests") as requests:
        requests.add_column(sa.Column("cost_uusd", sa.BigInteger(), nullable=True))
    op.execute("UPDATE requests SET cost_uusd = 0 WHERE energy_uwh = 0 AND images = 0")


def downgrade() -> None:
    with op.batch_alter_table("requests") as requests:
        requests.drop_column("cost_uusd")
    with op.batch_alter_table("journal") as journal:
        for bound in BOUNDS:
            journal.drop_column(f"{bound}_unpriced")
            journal.drop_column(f"{bound}_cost_uusd")
