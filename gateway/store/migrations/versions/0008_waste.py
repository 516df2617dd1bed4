"""What failed attempts may have taken for nothing. Requests of before have none that is known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = ("requests", "usage_hours")
NAMES = ("waste_energy_uwh", "waste_water_ul", "waste_carbon_ug")


def upgrade() -> None:
    for table in TABLES:
        with op.batch_alter_table(table) as altered:
            # The default stays: a gateway of the version before goes on writing while others are upgraded.
            for name in NAMES:
                altered.add_column(sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    for table in TABLES:
        with op.batch_alter_table(table) as altered:
            for name in NAMES:
                altered.drop_column(name)
