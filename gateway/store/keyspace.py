"""Names of the keys in Redis.

All keys of one org share the hash tag `{org}`, so that one org is one slot and one script can touch all of
them. Names come from authenticated keys and validated policies only; whatever is not a plain letter, digit,
dot, dash or underscore is percent-encoded, so no name can close the hash tag or pose as another key. This
module knows names, not what is stored under them.
"""

from __future__ import annotations

import re
from urllib.parse import quote

ORGS = "eg:orgs"  # the set of orgs that have a ledger
SCHEMA = "eg:schema"  # the version of this layout
SCHEMA_VERSION = "2"
PLAIN = re.compile(r"[A-Za-z0-9_.~-]*")
CONSUMER_GROUP = "sql"  # the consumers that copy the streams below into SQL


def org_key(org: str, *parts: str) -> str:
    """`eg:{org}:part:part`; raises ValueError on an empty org, which would share a slot with nobody."""
    if not org:
        msg = "an org needs a name"
        raise ValueError(msg)
    return ":".join([f"eg:{{{_encoded(org)}}}", *map(_encoded, parts)])


def _encoded(part: str) -> str:
    """Most names need no encoding, and `quote` takes long to find that out."""
    return part if PLAIN.fullmatch(part) else quote(part, safe="")


def meta_key(org: str) -> str:
    """What is known of the org's ledger as a whole: its epoch, and the turn of the server that holds it."""
    return org_key(org, "meta")


def journal_key(org: str) -> str:
    """The stream of settled entries."""
    return org_key(org, "journal")


def alerts_key(org: str) -> str:
    """The queue of alerts that are still to be delivered, by the time at which each is due."""
    return org_key(org, "alerts")


def alerted_key(org: str) -> str:
    """What was alerted of rolling windows, by the time until which it is not alerted again."""
    return org_key(org, "alerted")


def refusals_key(org: str) -> str:
    """The stream of requests that a budget refused."""
    return org_key(org, "refusals")
