"""Usage of users and keys by the hour."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

KEYS = ("org", "team", "user", "key", "decision")
AMOUNTS = (
    *("energy_uwh", "water_ul", "carbon_ug"),
    *("energy_low_uwh", "water_low_ul", "carbon_low_ug"),
    *("energy_high_uwh", "water_high_ul", "carbon_high_ug"),
)
COUNTS = (
    *("requests", "settled", "estimated", "retries", "images", *AMOUNTS),
    *("energy_lows", "water_lows", "carbon_lows", "cost_uusd", "priced"),
    *("avoided_even_ug", "avoided_fixed_ug", "avoided_even_known", "avoided_fixed_known"),
)
WASTE = ("waste_energy_uwh", "waste_water_ul", "waste_carbon_ug")
TOOK = "(images <> 0 OR energy_uwh <> 0)"
CELL = ("org", "COALESCE(team, '')", "COALESCE(\"user\", '')", "key", "decision")
SUMMED = f"""
    INSERT INTO usage_user_hours (hour_ms, org, team, "user", key, decision, {", ".join((*COUNTS, *WASTE))})
    SELECT at_ms / 3600000 * 3600000, {", ".join(CELL)}, COUNT(*),
        SUM(CASE WHEN {TOOK} AND basis = 'settled' THEN 1 ELSE 0 END),
        SUM(CASE WHEN {TOOK} AND basis <> 'settled' THEN 1 ELSE 0 END),
        COUNT(retry_of), SUM(images), {", ".join(f"COALESCE(SUM({name}), 0)" for name in AMOUNTS)},
        COUNT(energy_low_uwh), COUNT(water_low_ul), COUNT(carbon_low_ug), COALESCE(SUM(cost_uusd), 0),
        COUNT(cost_uusd), COALESCE(SUM(avoided_even_ug), 0), COALESCE(SUM(avoided_fixed_ug), 0),
        COUNT(avoided_even_ug), COUNT(avoided_fixed_ug), {", ".join(f"SUM({name})" for name in WASTE)}
    FROM requests
    GROUP BY at_ms / 3600000 * 3600000, {", ".join(CELL)}
"""  # noqa: S608 - made of the constants above


def upgrade() -> None:
    op.create_table(
        "usage_user_hours",
        sa.Column("org", sa.Text(), nullable=False),
        sa.Column("hour_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in KEYS[1:]),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in COUNTS),
        *(sa.Column(name, sa.BigInteger(), nullable=False, server_default="0") for name in WASTE),
        sa.PrimaryKeyConstraint("org", "hour_ms", *KEYS[1:], name=op.f("pk_usage_user_hours")),
    )
    op.create_index(op.f("ix_usage_user_hours_hour_ms"), "usage_user_hours", ["hour_ms"], unique=False)
    op.execute(SUMMED)


def downgrade() -> None:
    op.drop_index(op.f("ix_usage_user_hours_hour_ms"), table_name="usage_user_hours")
    op.drop_table("usage_user_hours")
