"""Delivers alerts to webhooks: at least once, by whichever gateway takes one first.

What waits is in the budget store, with the time at which it is due, so nothing has to be remembered here: the
older an undelivered alert is, the longer it waits for its next attempt. A receiver that answers 2xx has it.
One that refuses for good, or is not there for `GIVE_UP_S`, does not get it, which is logged and counted.
Refuses to know how alerts come about.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING

import httpx

from gateway.alerts.message import body
from gateway.budgets.signing import signature
from gateway.errors import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.budgets.alerts import Alert, AlertQueue, Queued
    from gateway.budgets.policy import Budget, PolicySet, Webhook
    from gateway.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
AT_ONCE = 20
TIMEOUT_S = 10.0
LEASE_MS = 60_000  # several times what one round can take
FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 900.0
GIVE_UP_S = 6 * 3600.0
SUCCESS = range(200, 300)
WORTH_ANOTHER_TRY = {408, 425, 429}
SERVER_ERROR = 500


class Deliveries:
    """`http` must follow no redirects and take no proxy from the environment."""

    def __init__(
        self,
        queue: AlertQueue,
        http: httpx.AsyncClient,
        policies: Callable[[], PolicySet],
        metrics: Metrics,
    ) -> None:
        self._queue = queue
        self._http = http
        self._policies = policies
        self._metrics = metrics
        self._trouble = False

    async def run(self) -> None:
        """Runs for ever; outages of the store are waited out, and logged when they begin."""
        while True:
            try:
                await self.deliver_due()
                self._trouble = False
            except LedgerUnavailable as error:
                if not self._trouble:
                    logger.warning("alerts wait: %s", error)
                self._trouble = True
            await asyncio.sleep(LOOK_EVERY_S)

    async def deliver_due(self) -> int:
        """One attempt for each alert that is due, if any budget has webhooks; answers how many there were."""
        if not any(budget.alerts for budget in self._policies().budgets):
            return 0
        attempts = 0
        for org in await self._queue.orgs():
            claimed = await self._queue.claim(org, lease_ms=LEASE_MS, most=AT_ONCE)
            await asyncio.gather(*(self._attempt(org, queued) for queued in claimed))
            attempts += len(claimed)
        return attempts

    async def _attempt(self, org: str, queued: Queued) -> None:
        alert = queued.alert
        budget = next((one for one in self._policies().budgets if one.name == alert.budget), None)
        webhooks = {webhook.digest: webhook for webhook in (budget.alerts if budget is not None else ())}
        if budget is not None and webhooks and not alert.to:
            await self._queue.split(org, queued, list(webhooks))
        elif budget is None or alert.to not in webhooks:
            self._metrics.alerted(result="withdrawn")
            await self._queue.done(org, queued.text)
        else:
            await self._send(org, queued, budget, webhooks[alert.to])

    async def _send(self, org: str, queued: Queued, budget: Budget, webhook: Webhook) -> None:
        alert, age_s = queued.alert, time.time() - int(queued.alert.at) / 1000
        status, trouble = await self._posted(alert, org, budget, webhook)
        if status in SUCCESS:
            self._metrics.alerted(result="delivered")
            await self._queue.done(org, queued.text)
            return
        told = {"org": org, "policy": alert.budget, "host": webhook.host, "alert": alert.id(org)}
        again = status is None or status in WORTH_ANOTHER_TRY or status >= SERVER_ERROR
        if again and age_s < GIVE_UP_S:
            self._metrics.alerted(result="failed")
            logger.warning("an alert was not delivered yet: %s", trouble, extra=told)
            due_ms = int((time.time() + delay_s(age_s)) * 1000)
            await self._queue.later(org, queued.text, due_ms=due_ms)
        else:
            self._metrics.alerted(result="dead")
            logger.error("an alert is given up: %s", trouble, extra=told)
            await self._queue.done(org, queued.text)

    async def _posted(
        self, alert: Alert, org: str, budget: Budget, webhook: Webhook
    ) -> tuple[int | None, str]:
        """The status of one attempt, None where there was no answer, and what went wrong in words of ours."""
        content, now_s, message_id = body(alert, org, budget), int(time.time()), alert.id(org)
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(now_s),
            "webhook-signature": signature(webhook.secret.get_secret_value(), message_id, now_s, content),
        }
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                self._http.stream("POST", webhook.url, content=content, headers=headers) as answer,
            ):
                return answer.status_code, f"status {answer.status_code}"
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            return None, type(error).__name__


def delay_s(age_s: float) -> float:
    """How long to wait for the next attempt: about as long as the alert is old, so that each wait doubles."""
    wait_s = min(max(age_s, FIRST_DELAY_S), LONGEST_DELAY_S)
    return wait_s * random.uniform(0.75, 1.25)  # noqa: S311 - spreads load only
