"""The reviewable record of one request: what travels through the hold and the journal into SQL.

Built by the request's life, stored opaque by the ledger, read by the journal consumer. It holds no prompt,
no image, no `user` value from a body, no header value, no URL and no credential.
"""

from __future__ import annotations

from typing import Any

import msgspec

UNCERTAIN = frozenset({"unknown", "client_gone"})
"""Outcomes of work that is charged although nobody knows whether it was done."""


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One try at a deployment: `outcome` is delivered, not_started, rejected or unknown.

    `wasted` is what it took by the central estimate, and what it cost where a price is declared, if it may
    have run and nothing came of it: no budget was charged for it.
    """

    deployment: str
    outcome: str
    status: int | None = None
    duration_ms: float | None = None
    wasted: dict[str, float] | None = None


class Record(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Everything that `GET /eco/v1/requests/{id}` shows about one request but for its time and its charge.

    `footprint` is the output of `footprint_json`: quantities with low, central and high, method, factors.
    `basis` is `settled` when it comes from what came back, else `estimate`. `usage_basis` is `reported` when
    the service said what the work took, `estimated` when its answer did not (the images that came back are
    counted all the same), and absent when nothing is charged. `decision` is one of the
    decisions in the design. `because` explains it in sentences, `routing` is what other rules would have
    chosen. `served` is the `region` that the answer named, its `zone` and the `planned_zone`.
    `downgrade` maps a changed field to what was `asked` and what it `got`;
    `reroute` names the deployments `from` and `to` which budgets moved the request. `retry_of` is the request
    that this one repeats, by the client's own count and the same body.
    """

    id: str
    org: str
    key: str
    team: str | None = None
    user: str | None = None
    labels: dict[str, str] = {}
    route: str
    model: str
    upstream_model: str | None = None
    deployment: str | None = None
    zone: str | None = None
    decision: str
    because: list[str] = []
    outcome: str
    status: int | None = None
    images_requested: int
    images: int
    size: str | None = None
    quality: str | None = None
    basis: str
    footprint: dict[str, Any] = {}
    candidates: list[dict[str, Any]] = []
    routing: dict[str, Any] = {}
    policies: list[dict[str, Any]] = []
    attempts: list[Attempt] = []
    served: dict[str, str | None] | None = None
    usage: dict[str, Any] | None = None
    usage_basis: str | None = None
    trace_id: str | None = None
    retry_count: int | None = None
    retry_of: str | None = None
    duration_ms: float | None = None
    policy_version: str | None = None
    warnings: list[str] = []
    downgrade: dict[str, dict[str, Any]] | None = None
    reroute: dict[str, Any] | None = None


def encode(record: Record) -> str:
    """The record as the JSON text that the ledger stores."""
    return msgspec.json.encode(record).decode()


def decode(text: str | bytes) -> Record:
    """The record that `encode` wrote."""
    return msgspec.json.decode(text, type=Record)
