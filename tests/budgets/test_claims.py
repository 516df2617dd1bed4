"""Claims: of all requests with one claim, one is admitted, and the others hear what became of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from gateway.budgets.claims import Claim, Earlier
from gateway.budgets.holds import Denied, Held
from gateway.budgets.ledger import Ledger
from gateway.budgets.wire import OrgKeys
from gateway.errors import HoldGone, LedgerUnavailable
from gateway.store.connection import connect
from gateway.usage.archive import Archive
from gateway.usage.journal import JournalConsumer
from gateway.usage.record import encode
from tests.budgets.ledger_builders import (
    ORG,
    RECORD,
    charge,
    counter,
    end_lease,
    everything,
    journal,
    stored,
)
from tests.usage.journals import record

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from redis.asyncio import Redis

    from gateway.store.sql import Database

CLAIM = Claim("k1", "same", lives_s=86_400)
NOTE = Claim("n1", "same", lives_s=900, binding=False)
BUDGET = counter(energy=100)
DAY_MS = 86_400_000


async def ask(
    ledger: Ledger, hold: str, claim: Claim | None = CLAIM, *, energy: int = 10, text: str = RECORD
) -> Held | Denied | Earlier:
    return await ledger.reserve(ORG, hold, [charge(energy)], [BUDGET], text, claim=claim)


async def first(ledger: Ledger, *, text: str = RECORD) -> None:
    assert isinstance(await ask(ledger, "h1", text=text), Held)


def recorded(outcome: str) -> str:
    """The record of the first request, as its life writes it."""
    return encode(record(id="h1", org=ORG, outcome=outcome))


async def forgotten(redis: Redis, database: Database) -> None:
    """The journal has reached SQL, and the first hold's tombstone is over."""
    await JournalConsumer(redis, database).drain_once()
    assert await redis.delete(OrgKeys(ORG).hold("h1")) == 1


async def test_the_second_of_two_hears_that_the_first_is_running(ledger: Ledger, redis: Redis) -> None:
    await first(ledger)
    before = await everything(redis)

    assert await ask(ledger, "h2") == Earlier("h1", "running")
    assert await everything(redis) == before


async def test_a_claim_is_looked_up_without_making_one(ledger: Ledger) -> None:
    assert await ledger.claims.earlier(ORG, CLAIM) is None
    await ask(ledger, "h1")
    assert await ledger.claims.earlier(ORG, CLAIM) == Earlier("h1", "running")
    assert await ledger.claims.earlier(ORG, replace(CLAIM, fingerprint="else")) == Earlier("h1", "other")

    await ledger.release(ORG, "h1", RECORD)

    assert await ledger.claims.earlier(ORG, CLAIM) is None
    assert isinstance(await ask(ledger, "h2"), Held)


async def test_once_charged_it_is_told_with_its_charge(ledger: Ledger) -> None:
    await first(ledger)
    await ledger.dispatch(ORG, "h1", RECORD)
    await ledger.settle(ORG, "h1", charge(7, 2, 3, images=2), RECORD)

    assert await ask(ledger, "h2") == Earlier("h1", "charged", charge(7, 2, 3, images=2).central)


async def test_a_charge_for_what_nobody_knows_is_told_as_unknown(ledger: Ledger) -> None:
    await first(ledger)
    await ledger.settle(ORG, "h1", charge(10), RECORD, known=False)

    assert await ask(ledger, "h2") == Earlier("h1", "unknown", charge(10).central)


async def test_an_expired_hold_that_was_sent_is_unknown_until_its_late_settlement(
    ledger: Ledger, redis: Redis
) -> None:
    await first(ledger)
    await ledger.dispatch(ORG, "h1", RECORD)
    await end_lease(redis, "h1")
    await ledger.expiry.due()

    assert await ask(ledger, "h2") == Earlier("h1", "unknown")

    await ledger.settle(ORG, "h1", charge(4), RECORD)
    assert await ask(ledger, "h2") == Earlier("h1", "charged", charge(4).central)


@pytest.mark.parametrize("how", ["released", "expired before it was sent", "released after its expiry"])
async def test_what_surely_did_not_run_may_be_tried_again(ledger: Ledger, redis: Redis, how: str) -> None:
    await first(ledger)
    if how != "released":
        if how == "released after its expiry":
            await ledger.dispatch(ORG, "h1", RECORD)
        await end_lease(redis, "h1")
        await ledger.expiry.due()
    if how != "expired before it was sent":
        await ledger.release(ORG, "h1", RECORD)

    assert isinstance(await ask(ledger, "h2"), Held)
    assert await ask(ledger, "h3") == Earlier("h2", "running")


async def test_a_refusal_claims_nothing(ledger: Ledger, redis: Redis) -> None:
    assert isinstance(await ask(ledger, "h1", energy=101), Denied)
    assert await redis.exists(OrgKeys(ORG).claim("k1")) == 0
    assert isinstance(await ask(ledger, "h2", energy=100), Held)


async def test_a_repetition_is_told_even_where_the_budget_has_no_room_left(ledger: Ledger) -> None:
    await ask(ledger, "h1", energy=100)

    assert await ask(ledger, "h2", energy=100) == Earlier("h1", "running")


@pytest.mark.parametrize("ended", ["open", "charged", "released"])
async def test_another_fingerprint_is_a_conflict_whatever_became_of_the_first(
    ledger: Ledger, ended: str
) -> None:
    await first(ledger)
    if ended == "charged":
        await ledger.settle(ORG, "h1", charge(7), RECORD)
    elif ended == "released":
        await ledger.release(ORG, "h1", RECORD)

    assert await ask(ledger, "h2", replace(CLAIM, fingerprint="other")) == Earlier("h1", "other")


async def test_other_claims_and_no_claim_are_not_in_the_way(ledger: Ledger) -> None:
    await first(ledger)

    assert isinstance(await ask(ledger, "h2", replace(CLAIM, name="k2")), Held)
    assert isinstance(await ask(ledger, "h3", None), Held)


async def test_a_claim_lives_for_a_day_without_any_budget(ledger: Ledger, redis: Redis) -> None:
    assert isinstance(await ledger.reserve(ORG, "h1", [charge(1)], [], RECORD, claim=CLAIM), Held)
    again = await ledger.reserve(ORG, "h2", [charge(1)], [], RECORD, claim=CLAIM)

    assert again == Earlier("h1", "running")
    left_ms = await redis.pttl(OrgKeys(ORG).claim("k1"))
    assert DAY_MS - 60_000 < left_ms <= DAY_MS


async def test_a_reserve_that_is_sent_again_keeps_its_own_claim(ledger: Ledger) -> None:
    await first(ledger)

    again = await ask(ledger, "h1")

    assert isinstance(again, Held)
    assert again.replay


async def test_of_fifty_at_once_over_two_gateways_one_is_held(redis_url: str) -> None:
    clients = [connect(redis_url, timeout_ms=5000) for _ in range(2)]
    ledgers = [Ledger(client, lease_s=60, timeout_ms=5000) for client in clients]
    answers = await asyncio.gather(*(ask(ledgers[n % 2], f"h{n}") for n in range(50)))
    held = [answer for answer in answers if isinstance(answer, Held)]
    earlier = {answer for answer in answers if isinstance(answer, Earlier)}
    for client in clients:
        await client.aclose()

    assert len(held) == 1
    assert [one.became for one in earlier] == ["running"]


async def test_of_fifty_that_take_over_a_released_claim_one_is_held(ledger: Ledger) -> None:
    await first(ledger)
    await ledger.release(ORG, "h1", RECORD)

    answers = await asyncio.gather(*(ask(ledger, f"again{n}", energy=1) for n in range(50)))

    assert sum(isinstance(answer, Held) for answer in answers) == 1


async def test_a_claim_that_another_request_took_meanwhile_is_not_taken_again(
    ledger: Ledger, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both see that the first did not run; the second of them is slower."""
    await first(ledger)
    await ledger.release(ORG, "h1", RECORD)
    faster = Ledger(redis, lease_s=60, timeout_ms=2000)
    look = ledger.claims.look

    async def overtaken(*seen: Any) -> Earlier:
        found = await look(*seen)
        if found.hold == "h1":
            assert isinstance(await ask(faster, "h2"), Held)
        return found

    monkeypatch.setattr(ledger.claims, "look", overtaken)

    assert await ask(ledger, "h3") == Earlier("h2", "running")


@pytest.mark.parametrize(
    ("outcome", "became"),
    [("delivered", "charged"), ("no_images", "charged"), ("unknown", "unknown"), ("client_gone", "unknown")],
)
async def test_without_its_tombstone_sql_says_what_became_of_a_charge(
    redis: Redis, database: Database, outcome: str, became: str
) -> None:
    ledger = Ledger(redis, lease_s=60, timeout_ms=2000, archive=Archive(database))
    await first(ledger, text=recorded("unknown"))
    await ledger.settle(ORG, "h1", charge(7), recorded(outcome))
    await forgotten(redis, database)

    found = await ask(ledger, "h2")

    assert isinstance(found, Earlier)
    assert (found.hold, found.became, found.central) == ("h1", became, charge(7).central)


async def test_without_its_tombstone_an_expiry_is_unknown(redis: Redis, database: Database) -> None:
    ledger = Ledger(redis, lease_s=60, timeout_ms=2000, archive=Archive(database))
    await first(ledger, text=recorded("unknown"))
    await ledger.dispatch(ORG, "h1", recorded("unknown"))
    await end_lease(redis, "h1")
    await ledger.expiry.due()
    await forgotten(redis, database)
    expired = await ask(ledger, "h2")

    assert expired == Earlier("h1", "unknown", charge(10).central)


async def test_without_its_tombstone_what_was_released_may_be_tried_again(
    redis: Redis, database: Database
) -> None:
    ledger = Ledger(redis, lease_s=60, timeout_ms=2000, archive=Archive(database))
    await first(ledger, text=recorded("unknown"))
    await ledger.release(ORG, "h1", recorded("rejected"))
    await forgotten(redis, database)

    assert isinstance(await ask(ledger, "h2"), Held)


async def test_a_hold_that_neither_store_nor_sql_knows_may_have_run(redis: Redis, database: Database) -> None:
    with_sql = Ledger(redis, lease_s=60, timeout_ms=2000, archive=Archive(database))
    without = Ledger(redis, lease_s=60, timeout_ms=2000)
    await first(with_sql)
    await redis.delete(OrgKeys(ORG).hold("h1"))

    assert await ask(with_sql, "h2") == Earlier("h1", "unknown")
    assert await ask(without, "h2") == Earlier("h1", "unknown")


async def test_while_sql_is_away_a_claim_without_a_tombstone_is_not_decided(
    redis: Redis, database: Database
) -> None:
    ledger = Ledger(redis, lease_s=60, timeout_ms=2000, archive=Archive(database))
    await first(ledger)
    await redis.delete(OrgKeys(ORG).hold("h1"))
    async with database.writing() as connection:
        await connection.exec_driver_sql("ALTER TABLE journal RENAME TO elsewhere")

    with pytest.raises(LedgerUnavailable, match="cannot say what became"):
        await ask(ledger, "h2")


async def test_a_claim_is_brought_back_where_it_is_missing_and_nowhere_else(
    ledger: Ledger, redis: Redis
) -> None:
    await first(ledger)
    await redis.delete(OrgKeys(ORG).claim("k1"))
    await ledger.claims.bring_back(ORG, "h1", CLAIM)
    await ledger.claims.bring_back(ORG, "h2", CLAIM)

    assert await ask(ledger, "h3") == Earlier("h1", "running")
    assert await redis.pttl(OrgKeys(ORG).claim("k1")) > DAY_MS - 60_000


async def test_a_note_keeps_nobody_out_and_says_who_was_there_before(ledger: Ledger) -> None:
    one = await ask(ledger, "h1", NOTE)
    two = await ask(ledger, "h2", NOTE)
    three = await ask(ledger, "h3", NOTE)

    assert [answer.earlier for answer in (one, two, three) if isinstance(answer, Held)] == [None, "h1", "h2"]


async def test_all_keys_of_a_claim_are_in_the_slot_of_its_org() -> None:
    names = OrgKeys("acme")

    assert {key.partition("}")[0] for key in (names.claim("k"), names.hold("h"))} == {"eg:{acme"}


async def test_a_store_that_forgot_its_scripts_keeps_the_claims(redis: Redis, ledger: Ledger) -> None:
    await first(ledger)
    await redis.script_flush()

    assert await ask(ledger, "h2") == Earlier("h1", "running")


KEYS = st.sampled_from(["a", "b"])
FINGERPRINTS = st.sampled_from(["x", "x", "x", "y"])


@dataclass
class Attempt:
    """One request in the model: what became of its hold."""

    name: str
    fingerprint: str
    state: str = "running"
    sent: bool = False


@dataclass
class Model:
    """By name of claim, the attempt that has it; and all holds."""

    owners: dict[str, str] = field(default_factory=dict)
    attempts: dict[str, Attempt] = field(default_factory=dict)

    def expected(self, name: str, fingerprint: str) -> str | None:
        """What a request is told; None when it is admitted."""
        owner = self.attempts.get(self.owners.get(name, ""))
        if owner is None:
            return None
        if owner.fingerprint != fingerprint:
            return "other"
        return None if owner.state == "free" else owner.state


class Claiming(RuleBasedStateMachine):
    """Requests with keys, their endings in any order, lost replies and forgotten scripts."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.redis = connect(self.url, timeout_ms=5000)
        self.run(self.redis.flushall())
        self.ledger = Ledger(self.redis, lease_s=600, timeout_ms=5000)
        self.model = Model()

    def run(self, call: Awaitable[Any]) -> Any:
        async def finish() -> Any:
            return await call

        return self.runner.run(finish())

    def teardown(self) -> None:
        self.run(self.redis.aclose())
        self.runner.close()

    def chosen(self, number: int) -> str | None:
        holds = [*self.model.attempts]
        return holds[number % len(holds)] if holds else None

    @rule(name=KEYS, fingerprint=FINGERPRINTS, again=st.booleans())
    def request(self, name: str, fingerprint: str, again: bool) -> None:
        """`again`: the reply is lost and the same reserve sent once more."""
        hold = f"h{len(self.model.attempts)}"
        claim = Claim(name, fingerprint, lives_s=60)
        expected = self.model.expected(name, fingerprint)
        for _ in range(2 if again else 1):
            answer = self.run(ask(self.ledger, hold, claim, energy=1))
            if expected is not None:
                assert isinstance(answer, Earlier)
                assert (answer.hold, answer.became) == (self.model.owners[name], expected)
                return
            assert isinstance(answer, Held)
        self.model.owners[name] = hold
        self.model.attempts[hold] = Attempt(name, fingerprint)

    @rule(number=st.integers(0, 30))
    def dispatch(self, number: int) -> None:
        hold = self.chosen(number)
        if hold is None:
            return
        attempt = self.model.attempts[hold]
        try:
            self.run(self.ledger.dispatch(ORG, hold, RECORD))
        except HoldGone:
            assert attempt.state != "running"
            return
        assert attempt.state == "running"
        attempt.sent = True

    @rule(number=st.integers(0, 30), known=st.booleans())
    def settle(self, number: int, known: bool) -> None:
        hold = self.chosen(number)
        if hold is None:
            return
        attempt = self.model.attempts[hold]
        late = attempt.state == "unknown" and attempt.sent and self.is_expired(hold)
        self.run(self.ledger.settle(ORG, hold, charge(1), RECORD, known=known))
        if attempt.state == "running" or late:
            attempt.state = "charged" if known else "unknown"

    @rule(number=st.integers(0, 30))
    def release(self, number: int) -> None:
        hold = self.chosen(number)
        if hold is None:
            return
        attempt = self.model.attempts[hold]
        late = self.is_expired(hold)
        self.run(self.ledger.release(ORG, hold, RECORD))
        if attempt.state == "running" or late:
            attempt.state = "free"

    @rule(number=st.integers(0, 30))
    def expire(self, number: int) -> None:
        hold = self.chosen(number)
        if hold is None:
            return
        attempt = self.model.attempts[hold]
        self.run(end_lease(self.redis, hold))
        self.run(self.ledger.expiry.due())
        if attempt.state == "running":
            attempt.state = "unknown" if attempt.sent else "free"

    @rule()
    def forget_scripts(self) -> None:
        self.run(self.redis.script_flush())

    def is_expired(self, hold: str) -> bool:
        return bool(self.run(self.redis.hget(OrgKeys(ORG).hold(hold), "state")) == "E")

    @invariant()
    def no_claim_is_charged_twice(self) -> None:
        """Of all holds of a claim at most one is anything but free."""
        for name in self.model.owners:
            states = [one.state for one in self.model.attempts.values() if one.name == name]
            assert sum(state != "free" for state in states) <= 1
        spent = self.run(stored(self.redis, BUDGET)).get("s1", 0)
        charged = [one for one in self.model.attempts.values() if one.state in {"charged", "unknown"}]
        assert spent == len(charged)
        assert len(self.run(journal(self.redis))) >= len(charged)


def test_random_requests_with_keys_agree_with_the_model(redis_url: str) -> None:
    class ClaimingHere(Claiming):
        url = redis_url

    run_state_machine_as_test(
        ClaimingHere,
        settings=settings(
            max_examples=50,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
