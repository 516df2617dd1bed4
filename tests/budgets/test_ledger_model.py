"""Random lives of holds on the real store against a model of a few lines.

After every step the counters equal the model's, the journal adds up to what is spent, and the open holds add
up to what is held.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.budgets.amounts import FIGURES, Amounts, Charge, Dimension
from gateway.budgets.counter import Bucket
from gateway.budgets.holds import Denied, Held
from gateway.budgets.ledger import Ledger
from gateway.budgets.wire import OrgKeys
from gateway.errors import HoldGone
from gateway.store.connection import connect
from tests.budgets.ledger_builders import ORG, RECORD, counter, end_lease, entries, now_ms, posted, stored
from tests.budgets.virtual_time import set_clock, virtual_time

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gateway.budgets.counter import Counter

AMOUNTS = st.sampled_from([0, 1, 2, 3, 5])
LIMITS = st.sampled_from([None, 0, 1, 3, 5, 6, 10])
TRAIL, PART_MS = 3, 2000
ROLLING_FROM_MS = now_ms()
NOTHING = (0,) * len(FIGURES)

type_of_charge = st.builds(
    lambda energy, images, more, cost: Charge(
        Amounts(energy, 0, 0, images, cost), Amounts(energy + more, 0, 0, images, cost)
    ),
    AMOUNTS,
    st.sampled_from([1, 2]),
    st.sampled_from([0, 1, 2]),
    st.sampled_from([None, 0, 1, 2]),
)


@dataclass
class Hold:
    """What the model knows of one hold; `charged` is what counts as spent for it."""

    candidates: list[Charge]
    counters: list[Counter]
    reserved: Charge
    state: str = "open"
    sent: bool = False
    charged: Charge | None = None


@dataclass
class Model:
    """The ledger, thought through without a store."""

    holds: dict[str, Hold] = field(default_factory=dict)

    def held(self, asked: Counter) -> list[int]:
        return self._sum(asked, [(h, h.reserved) for h in self.holds.values() if h.state == "open"])

    def spent(self, asked: Counter) -> list[int]:
        return self._sum(asked, [(h, h.charged) for h in self.holds.values() if h.charged])

    def fits(self, charge: Charge, counters: list[Counter]) -> bool:
        for one in counters:
            vector = getattr(charge, one.bound).vector()
            if vector[-1] and Dimension.COST in one.limits:
                return False
            for dimension, amount, spent, held in zip(
                Dimension, vector, self.spent(one), self.held(one), strict=False
            ):
                limit = one.limits.get(dimension)
                if amount and limit is not None and spent + held + amount > limit:
                    return False
        return True

    @staticmethod
    def _sum(asked: Counter, charges: list[tuple[Hold, Charge]]) -> list[int]:
        vectors = [
            getattr(charge, asked.bound).vector()
            for hold, charge in charges
            if any(one.id == asked.id and counts(one, asked) for one in hold.counters)
        ]
        return [sum(column) for column in zip(NOTHING, *vectors, strict=True)]


def counts(charged: Counter, asked: Counter) -> bool:
    """Whether what was charged then still counts in the window that is asked for."""
    window = asked.window(asked.current)
    return window.start_ms <= charged.current.start_ms < window.end_ms


class Lives(RuleBasedStateMachine):
    """Holds of two budgets, one by each bound, in one org."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.redis = connect(self.url, timeout_ms=5000)
        self.run(self.redis.flushall())
        self.ledger = Ledger(self.redis, lease_s=3600, timeout_ms=5000)
        self.model = Model()
        self.limits: dict[str, dict[Dimension, int]] = {
            "central": {Dimension.ENERGY: 10},
            "high": {Dimension.ENERGY: 9, Dimension.IMAGES: 5},
            "rolling": {Dimension.ENERGY: 6},
        }
        self.part = 0
        self.run(set_clock(self.redis, ROLLING_FROM_MS + 1))

    def run(self, call: Awaitable[Any]) -> Any:
        async def finish() -> Any:
            return await call

        return self.runner.run(finish())

    def teardown(self) -> None:
        self.run(self.redis.aclose())
        self.runner.close()

    def budgets(self) -> list[Counter]:
        return [
            counter("central", limits=self.limits["central"]),
            counter("high", scope={"team": "a"}, bound="high", limits=self.limits["high"]),
            self.rolling(),
        ]

    def rolling(self) -> Counter:
        """The last three parts of a window of which a rule ends one after the other."""
        start = ROLLING_FROM_MS + self.part * PART_MS
        buckets = Bucket(start, start + PART_MS), Bucket(start + PART_MS, start + 2 * PART_MS)
        return replace(counter("rolling", limits=self.limits["rolling"], buckets=buckets), trail=TRAIL)

    @rule(parts=st.sampled_from([1, 1, 2, 4]))
    def time_passes(self, parts: int) -> None:
        self.part += parts
        self.run(set_clock(self.redis, ROLLING_FROM_MS + self.part * PART_MS + 1))

    @rule(name=st.sampled_from(["central", "high", "rolling"]), energy=LIMITS, images=LIMITS, cost=LIMITS)
    def change_limits(self, name: str, energy: int | None, images: int | None, cost: int | None) -> None:
        pairs = ((Dimension.ENERGY, energy), (Dimension.IMAGES, images), (Dimension.COST, cost))
        self.limits[name] = {dimension: limit for dimension, limit in pairs if limit is not None}

    @rule(candidates=st.lists(type_of_charge, min_size=1, max_size=2), wanted=st.sampled_from([0, 1, 2, 3]))
    def reserve(self, candidates: list[Charge], wanted: int) -> None:
        hold_id = f"h{len(self.model.holds)}"
        budgets = self.budgets()
        counters = budgets if wanted == len(budgets) else [budgets[wanted]]
        fitting = [n for n, charge in enumerate(candidates) if self.model.fits(charge, counters)]

        answer = self.run(self.ledger.reserve(ORG, hold_id, candidates, counters, RECORD))

        if not fitting:
            assert isinstance(answer, Denied)
            assert {row.candidate for row in answer.rows} == set(range(len(candidates)))
            return
        assert isinstance(answer, Held)
        assert answer.candidate == fitting[0]
        self.model.holds[hold_id] = Hold(candidates, counters, candidates[fitting[0]])
        for room in answer.available:
            lacks = self.model.spent(room.counter)[-1] + self.model.held(room.counter)[-1]
            assert room.dimension is not Dimension.COST or not lacks
            index = list(Dimension).index(room.dimension)
            taken = self.model.spent(room.counter)[index] + self.model.held(room.counter)[index]
            assert room.available == max(0, room.limit - taken)

    def any_hold(self, data: st.DataObject) -> tuple[str, Hold]:
        """Mostly one to which something may still happen."""
        alive = sorted(name for name, hold in self.model.holds.items() if hold.state != "final")
        finished = data.draw(st.sampled_from([False, False, False, True]))
        hold_id = data.draw(st.sampled_from(alive if alive and not finished else sorted(self.model.holds)))
        return hold_id, self.model.holds[hold_id]

    @precondition(lambda self: self.model.holds)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        hold_id, hold = self.any_hold(data)
        call = self.ledger.reserve(ORG, hold_id, hold.candidates, hold.counters, RECORD)
        if hold.state == "open":
            assert self.run(call).replay
        else:
            self.expect_gone(call)

    @precondition(lambda self: self.model.holds)
    @rule(data=st.data())
    def dispatch(self, data: st.DataObject) -> None:
        hold_id, hold = self.any_hold(data)
        call = self.ledger.dispatch(ORG, hold_id, "{}")
        if hold.state == "open":
            self.run(call)
            hold.sent = True
        else:
            self.expect_gone(call)

    @precondition(lambda self: self.model.holds)
    @rule(data=st.data(), actual=type_of_charge)
    def settle(self, data: st.DataObject, actual: Charge) -> None:
        hold_id, hold = self.any_hold(data)
        kind = {"open": "commit", "expired": "late"}.get(hold.state, "duplicate")

        settled = self.run(self.ledger.settle(ORG, hold_id, actual, RECORD))

        assert settled.kind == kind
        if kind != "duplicate":
            hold.state, hold.charged = "final", actual

    @precondition(lambda self: self.model.holds)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        hold_id, hold = self.any_hold(data)
        kind = {"open": "release", "expired": "late"}.get(hold.state, "duplicate")

        released = self.run(self.ledger.release(ORG, hold_id, RECORD))

        assert released.kind == kind
        if kind != "duplicate":
            hold.state, hold.charged = "final", None

    @precondition(lambda self: self.model.holds)
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        hold_id, hold = self.any_hold(data)
        self.run(end_lease(self.redis, hold_id))

        ended = self.run(self.ledger.expiry.due())

        assert ended == (hold.state == "open")
        if hold.state == "open" and hold.sent:
            hold.state, hold.charged = "expired", hold.reserved
        elif hold.state == "open":
            hold.state = "final"

    @precondition(lambda self: any(hold.state == "open" for hold in self.model.holds.values()))
    @rule()
    def lose_a_gateway(self) -> None:
        """Everything open was sent, and nobody comes back for it in time."""
        still_open = [hold_id for hold_id, hold in self.model.holds.items() if hold.state == "open"]
        for hold_id in still_open:
            self.run(self.ledger.dispatch(ORG, hold_id, "{}"))
        self.run(end_lease(self.redis, *still_open))

        assert self.run(self.ledger.expiry.due()) == len(still_open)
        for hold_id in still_open:
            hold = self.model.holds[hold_id]
            hold.sent, hold.state, hold.charged = True, "expired", hold.reserved

    @rule()
    def forget_scripts(self) -> None:
        self.run(self.redis.script_flush())

    def expect_gone(self, call: Awaitable[Any]) -> None:
        try:
            self.run(call)
        except HoldGone:
            return
        raise AssertionError

    @invariant()
    def the_store_agrees_with_the_model(self) -> None:
        journaled = self.run(entries(self.redis, f"eg:{{{ORG}}}:journal"))
        for one in self.budgets():
            balance = self.run(self.ledger.balances(ORG, [one]))[0]
            spent, held = self.model.spent(one), self.model.held(one)
            assert [*balance.used.values(), *balance.held.values()] == [*spent[:-1], *held[:-1]]
            assert balance.unpriced == spent[-1] + held[-1]
            fields = self.run(stored(self.redis, one))
            part = [fields.get(f"s{d}", 0) for d in range(1, len(FIGURES) + 1)]
            assert part == posted(journaled, one)
            assert one.trail or part == spent
        still_open = {hold_id for hold_id, hold in self.model.holds.items() if hold.state == "open"}
        assert set(self.run(self.redis.zrange(OrgKeys(ORG).open_holds, 0, -1))) == still_open


def test_random_lives_of_holds_agree_with_the_model(redis_url: str) -> None:
    class LivesHere(Lives):
        url = redis_url

    with virtual_time():
        run_state_machine_as_test(
            LivesHere,
            settings=settings(
                max_examples=40,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
