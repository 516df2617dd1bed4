"""Keys, journal and requests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("pepper_id", sa.String(length=16), nullable=False),
        sa.Column("org", sa.String(length=64), nullable=False),
        sa.Column("team", sa.String(length=64), nullable=True),
        sa.Column("user", sa.String(length=64), nullable=True),
        sa.Column(
            "labels",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_keys_digest")),
    )
    op.create_index(op.f("ix_api_keys_org_created_at_ms"), "api_keys", ["org", "created_at_ms"], unique=False)
    op.create_table(
        "journal",
        sa.Column("org", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("entry_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("hold", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("central_energy_uwh", sa.BigInteger(), nullable=False),
        sa.Column("central_water_ul", sa.BigInteger(), nullable=False),
        sa.Column("central_carbon_ug", sa.BigInteger(), nullable=False),
        sa.Column("central_images", sa.BigInteger(), nullable=False),
        sa.Column("high_energy_uwh", sa.BigInteger(), nullable=False),
        sa.Column("high_water_ul", sa.BigInteger(), nullable=False),
        sa.Column("high_carbon_ug", sa.BigInteger(), nullable=False),
        sa.Column("high_images", sa.BigInteger(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("org", "stream", "entry_id", name=op.f("pk_journal")),
    )
    op.create_index(op.f("ix_journal_org_request_id"), "journal", ["org", "request_id"], unique=False)
    op.create_table(
        "journal_rejects",
        sa.Column("org", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("entry_id", sa.Text(), nullable=False),
        sa.Column("fields", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("rejected_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("org", "stream", "entry_id", name=op.f("pk_journal_rejects")),
    )
    op.create_table(
        "postings",
        sa.Column("org", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("entry_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("counter", sa.Text(), nullable=False),
        sa.Column("bucket_start_ms", sa.BigInteger(), nullable=False),
        sa.Column("bound", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["org", "stream", "entry_id"],
            ["journal.org", "journal.stream", "journal.entry_id"],
            name=op.f("fk_postings_journal"),
        ),
        sa.PrimaryKeyConstraint("org", "stream", "entry_id", "position", name=op.f("pk_postings")),
    )
    op.create_index(
        op.f("ix_postings_org_bucket_start_ms"), "postings", ["org", "bucket_start_ms"], unique=False
    )
    op.create_table(
        "requests",
        sa.Column("org", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("team", sa.Text(), nullable=True),
        sa.Column("user", sa.Text(), nullable=True),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column(
            "labels",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("deployment", sa.Text(), nullable=True),
        sa.Column("zone", sa.Text(), nullable=True),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("images", sa.BigInteger(), nullable=False),
        sa.Column("energy_uwh", sa.BigInteger(), nullable=False),
        sa.Column("water_ul", sa.BigInteger(), nullable=False),
        sa.Column("carbon_ug", sa.BigInteger(), nullable=False),
        sa.Column("energy_low_uwh", sa.BigInteger(), nullable=True),
        sa.Column("water_low_ul", sa.BigInteger(), nullable=True),
        sa.Column("carbon_low_ug", sa.BigInteger(), nullable=True),
        sa.Column("energy_high_uwh", sa.BigInteger(), nullable=False),
        sa.Column("water_high_ul", sa.BigInteger(), nullable=False),
        sa.Column("carbon_high_ug", sa.BigInteger(), nullable=False),
        sa.Column("record_stream", sa.Text(), nullable=False),
        sa.Column("record_entry_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["org", "record_stream", "record_entry_id"],
            ["journal.org", "journal.stream", "journal.entry_id"],
            name=op.f("fk_requests_journal"),
        ),
        sa.PrimaryKeyConstraint("org", "id", name=op.f("pk_requests")),
    )
    op.create_index(op.f("ix_requests_at_ms"), "requests", ["at_ms"], unique=False)
    op.create_index(op.f("ix_requests_id"), "requests", ["id"], unique=False)
    op.create_index(op.f("ix_requests_org_at_ms"), "requests", ["org", "at_ms"], unique=False)
    op.create_index(op.f("ix_requests_org_key_at_ms"), "requests", ["org", "key", "at_ms"], unique=False)
    op.create_index(op.f("ix_requests_org_team_at_ms"), "requests", ["org", "team", "at_ms"], unique=False)
    op.create_index(op.f("ix_requests_org_user_at_ms"), "requests", ["org", "user", "at_ms"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_requests_org_user_at_ms"), table_name="requests")
    op.drop_index(op.f("ix_requests_org_team_at_ms"), table_name="requests")
    op.drop_index(op.f("ix_requests_org_key_at_ms"), table_name="requests")
    op.drop_index(op.f("ix_requests_org_at_ms"), table_name="requests")
    op.drop_index(op.f("ix_requests_id"), table_name="requests")
    op.drop_index(op.f("ix_requests_at_ms"), table_name="requests")
    op.drop_table("requests")
    op.drop_index(op.f("ix_postings_org_bucket_start_ms"), table_name="postings")
    op.drop_table("postings")
    op.drop_table("journal_rejects")
    op.drop_index(op.f("ix_journal_org_request_id"), table_name="journal")
    op.drop_table("journal")
    op.drop_index(op.f("ix_api_keys_org_created_at_ms"), table_name="api_keys")
    op.drop_table("api_keys")
