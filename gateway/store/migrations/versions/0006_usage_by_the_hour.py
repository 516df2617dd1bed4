"""Usage by the hour; what each request avoided. Requests of before have no avoided amounts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

KEYS = ("org", "team", "model", "deployment", "zone", "route", "decision")
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
TOOK = "(images <> 0 OR energy_uwh <> 0)"
SUMMED = f"""
    INSERT INTO usage_hours (hour_ms, {", ".join(KEYS)}, {", ".join(COUNTS)})
    SELECT at_ms / 3600000 * 3600000 AS hour_ms, org, COALESCE(team, ''), model, COALESCE(deployment, ''),
        COALESCE(zone, ''), route, decision, COUNT(*),
        SUM(CASE WHEN {TOOK} AND basis = 'settled' THEN 1 ELSE 0 END),
        SUM(CASE WHEN {TOOK} AND basis <> 'settled' THEN 1 ELSE 0 END),
        COUNT(retry_of), SUM(images), {", ".join(f"COALESCE(SUM({name}), 0)" for name in AMOUNTS)},
        COUNT(energy_low_uwh), COUNT(water_low_ul), COUNT(carbon_low_ug), COALESCE(SUM(cost_uusd), 0),
        COUNT(cost_uusd), 0, 0, 0, 0
    FROM requests
    GROUP BY at_ms / 3600000 * 3600000, org, COALESCE(team, ''), model, COALESCE(deployment, ''),
        COALESCE(zone, ''), route, decision
"""  # noqa: S608 - made of the constants above


def upgrade() -> None:
    op.add_column("requests", sa.Column("avoided_even_ug", sa.BigInteger(), nullable=True))
    op.add_column("requests", sa.Column("avoided_fixed_ug", sa.BigInteger(), nullable=True))
    op.create_table(
        "usage_hours",
        sa.Column("org", sa.Text(), nullable=False),
        sa.Column("hour_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in KEYS[1:]),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in COUNTS),
        sa.PrimaryKeyConstraint("org", "hour_ms", *KEYS[1:], name=op.f("pk_usage_hours")),
    )
    op.create_index(op.f("ix_usage_hours_hour_ms"), "usage_hours", ["hour_ms"], unique=False)
    op.execute(SUMMED)


def downgrade() -> None:
    op.drop_index(op.f("ix_usage_hours_hour_ms"), table_name="usage_hours")
    op.drop_table("usage_hours")
    op.drop_column("requests", "avoided_fixed_ug")
    op.drop_column("requests", "avoided_even_ug")
