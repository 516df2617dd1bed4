"""Requests that a client sends twice: how they are recognised, and what the second one is told.

With an `Idempotency-Key` the second is never sent on; without one, stock clients say how often they tried,
and a repetition is only noted. Neither the key nor the body is kept: both are digests under a secret of the
deployment. Refuses to know the store.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

from gateway.budgets.claims import Claim
from gateway.errors import Repeated
from gateway.images.fingerprint import fingerprint
from gateway.lifecycle.failures import NO_RETRY

if TYPE_CHECKING:
    from gateway.budgets.claims import Earlier
    from gateway.identity.subject import Subject
    from gateway.images.request import ImageRequest

KEY_LIVES_S = 86_400
RETRY_WITHIN_S = 900
"""Longer than the ten minutes that a stock client waits before it sends a request again."""
IN_PROGRESS_RETRY_S = 2
NAME_CHARACTERS = 32


class Repeats:
    """Makes the claims of requests. `pepper` is the deployment's secret, the same in all its gateways."""

    def __init__(self, pepper: bytes) -> None:
        self._secret = hmac.new(pepper, b"ecogate repeated requests", hashlib.sha256).digest()

    async def claim(
        self, subject: Subject, request: ImageRequest, *, key: str | None, retry_count: int | None
    ) -> Claim | None:
        """What a request claims: its key, or nothing but to be counted when it comes again; None for neither.

        Keys are apart by org, API key and route.
        """
        if key is None and retry_count is None:
            return None
        if request.form is None:
            same = fingerprint(request, self._secret)
        else:
            same = await asyncio.to_thread(fingerprint, request, self._secret)
        if key is not None:
            return Claim(self._name("key", subject, request, key), same, KEY_LIVES_S)
        return Claim(self._name("body", subject, request, same), same, RETRY_WITHIN_S, binding=False)

    def _name(self, kind: str, subject: Subject, request: ImageRequest, distinct: str) -> str:
        parts = json.dumps([kind, subject.org, subject.key, request.route, distinct])
        return hmac.new(self._secret, parts.encode(), hashlib.sha256).hexdigest()[:NAME_CHARACTERS]


def told(earlier: Earlier) -> Repeated:
    """The answer to a request whose key belongs to an earlier one; nothing was sent or charged for it."""
    first: dict[str, Any] = {"request": earlier.hold}
    match earlier.became:
        case "other":
            return Repeated(
                "This idempotency key was used for another request. Use a new key.",
                code="idempotency_key_conflict",
                headers=NO_RETRY,
            )
        case "running":
            return Repeated(
                "The request with this idempotency key is still being worked on.",
                code="idempotency_in_progress",
                headers={"retry-after": str(IN_PROGRESS_RETRY_S)},
                eco=first,
            )
        case "charged":
            return Repeated(
                f"The request with this idempotency key was done and charged as {earlier.hold}; its answer is"
                " not kept. Use a new key to pay for new images.",
                code="idempotency_completed",
                headers=NO_RETRY,
                eco=first | _charge(earlier),
            )
        case _:
            return Repeated(
                f"Nobody knows whether the work of the request with this idempotency key ({earlier.hold}) was"
                " done; it was charged. Use a new key to pay for it again.",
                code="idempotency_unknown_outcome",
                headers=NO_RETRY,
                eco=first | _charge(earlier),
            )


def _charge(earlier: Earlier) -> dict[str, Any]:
    """What was charged for the first request, in the units people read, as far as it is known."""
    if earlier.central is None:
        return {}
    shown = {
        dimension.field: dimension.shown(amount) for dimension, amount in earlier.central.known().items()
    }
    return {"charge": shown}
