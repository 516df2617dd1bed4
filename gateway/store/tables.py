"""The SQL tables: API keys, the journal's lasting copy and the requests that usage is counted from.

Times are integers (milliseconds since the epoch, UTC) and amounts are the ledger's integers, so that SQLite
and PostgreSQL hold the same values. A row of `journal` never changes once written. This module knows columns
and keys; it does not know what a query may show to whom.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Labels = JSON().with_variant(JSONB(), "postgresql")

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("pepper_id", String(16), nullable=False),
    Column("org", String(64), nullable=False),
    Column("team", String(64)),
    Column("user", String(64)),
    Column("labels", Labels, nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("revoked_at_ms", BigInteger),
    Column("requests_per_minute", Integer),
    Index(None, "org", "created_at_ms"),
)

# `stream` is `journal` or `refusals`: entry ids are unique within one stream only.
journal = Table(
    "journal",
    metadata,
    Column("org", Text, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("entry_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("hold", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("central_energy_uwh", BigInteger, nullable=False),
    Column("central_water_ul", BigInteger, nullable=False),
    Column("central_carbon_ug", BigInteger, nullable=False),
    Column("central_images", BigInteger, nullable=False),
    Column("central_cost_uusd", BigInteger, nullable=False),
    Column("central_unpriced", BigInteger, nullable=False),
    Column("high_energy_uwh", BigInteger, nullable=False),
    Column("high_water_ul", BigInteger, nullable=False),
    Column("high_carbon_ug", BigInteger, nullable=False),
    Column("high_images", BigInteger, nullable=False),
    Column("high_cost_uusd", BigInteger, nullable=False),
    Column("high_unpriced", BigInteger, nullable=False),
    Column("record", Text, nullable=False),
    Index(None, "org", "request_id"),
    Index(None, "org", "hold"),
    Index(None, "org", "at_ms"),
)

# Of the stream `journal`, said so that SQLite does not take it for the beginning of the primary key: it would
# read all of an org's journal where another index leads to a few entries.
JOURNALED = (journal.c.stream + "") == "journal"

# Which counters an entry changed, so that a counter can be rebuilt and checked from SQL.
postings = Table(
    "postings",
    metadata,
    Column("org", Text, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("entry_id", Text, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("counter", Text, nullable=False),
    Column("bucket_start_ms", BigInteger, nullable=False),
    Column("bound", Text, nullable=False),
    ForeignKeyConstraint(
        ["org", "stream", "entry_id"], ["journal.org", "journal.stream", "journal.entry_id"]
    ),
    Index(None, "org", "bucket_start_ms"),
)

# An entry that could not be read, with its fields as JSON text (`bytes` that are no UTF-8 as base64).
journal_rejects = Table(
    "journal_rejects",
    metadata,
    Column("org", Text, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("entry_id", Text, primary_key=True),
    Column("fields", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("rejected_at_ms", BigInteger, nullable=False),
)

# One row per request: amounts summed over its journal entries, what its newest record says, the time of its
# first entry. Rows are short, since usage reads many of them: the record itself stays in the journal.
# `*_low_*` is null where the record's footprint says nothing about a lower bound, `cost_uusd` where nobody
# knows what the request cost, `avoided_*` (against an even spread and against the best fixed choice) where
# the record does not tell. `waste_*` is what failed attempts may have taken for nothing.
requests = Table(
    "requests",
    metadata,
    Column("org", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
    Column("team", Text),
    Column("user", Text),
    Column("key", Text, nullable=False),
    Column("labels", Labels, nullable=False),
    Column("model", Text, nullable=False),
    Column("deployment", Text),
    Column("zone", Text),
    Column("route", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("basis", Text, nullable=False),
    Column("images", BigInteger, nullable=False),
    Column("energy_uwh", BigInteger, nullable=False),
    Column("water_ul", BigInteger, nullable=False),
    Column("carbon_ug", BigInteger, nullable=False),
    Column("energy_low_uwh", BigInteger),
    Column("water_low_ul", BigInteger),
    Column("carbon_low_ug", BigInteger),
    Column("energy_high_uwh", BigInteger, nullable=False),
    Column("water_high_ul", BigInteger, nullable=False),
    Column("carbon_high_ug", BigInteger, nullable=False),
    Column("cost_uusd", BigInteger),
    Column("avoided_even_ug", BigInteger),
    Column("avoided_fixed_ug", BigInteger),
    Column("waste_energy_uwh", BigInteger, nullable=False, server_default="0"),
    Column("waste_water_ul", BigInteger, nullable=False, server_default="0"),
    Column("waste_carbon_ug", BigInteger, nullable=False, server_default="0"),
    Column("record_stream", Text, nullable=False),
    Column("record_entry_id", Text, nullable=False),
    Column("retry_of", Text),
    ForeignKeyConstraint(
        ["org", "record_stream", "record_entry_id"], ["journal.org", "journal.stream", "journal.entry_id"]
    ),
    Index(None, "id"),
    Index(None, "at_ms"),
    Index(None, "org", "at_ms"),
    Index(None, "org", "team", "at_ms"),
    Index(None, "org", "user", "at_ms"),
    Index(None, "org", "key", "at_ms"),
)

# What is summed up; `*_lows` and `*_known` count the requests whose lower bound and avoided carbon are known.
USAGE_SUMS = (
    *("requests", "settled", "estimated", "retries", "images", "energy_uwh", "water_ul", "carbon_ug"),
    *("energy_low_uwh", "water_low_ul", "carbon_low_ug"),
    *("energy_high_uwh", "water_high_ul", "carbon_high_ug"),
    *("energy_lows", "water_lows", "carbon_lows", "cost_uusd", "priced"),
    *("avoided_even_ug", "avoided_fixed_ug", "avoided_even_known", "avoided_fixed_known"),
)
USAGE_WASTE = ("waste_energy_uwh", "waste_water_ul", "waste_carbon_ug")

# `requests` summed up by hour (its start, UTC), and by what usage is mostly asked by: once by what was asked
# for and where it went, once by who asked. An attribute that a request lacks is the empty text here, since it
# is part of the key.
usage_hours = Table(
    "usage_hours",
    metadata,
    Column("org", Text, primary_key=True),
    Column("hour_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("team", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("deployment", Text, primary_key=True),
    Column("zone", Text, primary_key=True),
    Column("route", Text, primary_key=True),
    Column("decision", Text, primary_key=True),
    *(Column(name, BigInteger, nullable=False) for name in USAGE_SUMS),
    *(Column(name, BigInteger, nullable=False, server_default="0") for name in USAGE_WASTE),
    Index(None, "hour_ms"),
)
usage_user_hours = Table(
    "usage_user_hours",
    metadata,
    Column("org", Text, primary_key=True),
    Column("hour_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("team", Text, primary_key=True),
    Column("user", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("decision", Text, primary_key=True),
    *(Column(name, BigInteger, nullable=False) for name in USAGE_SUMS),
    *(Column(name, BigInteger, nullable=False, server_default="0") for name in USAGE_WASTE),
    Index(None, "hour_ms"),
)

# Raises and resets of budgets, each as it was journaled last (`raise` as JSON).
grants = Table(
    "grants",
    metadata,
    Column("org", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("raise", Text, nullable=False),
)

# What a process brought to a server of the budget store that took over an org, and what it found nowhere.
recoveries = Table(
    "recoveries",
    metadata,
    Column("org", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("recovery", Text, nullable=False),
)

# Which orgs have a ledger in Redis: one that is listed here and missing there was lost, and is rebuilt.
# `turn` is that of the newest server to which the endings in SQL were brought; what was read in an earlier
# one is not taken any more.
ledgers = Table(
    "ledgers",
    metadata,
    Column("org", Text, primary_key=True),
    Column("epoch", Text, nullable=False),
    Column("began_at_ms", BigInteger, nullable=False),
    Column("rebuilt_at_ms", BigInteger),
    Column("turn", Text),
)
