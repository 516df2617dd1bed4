"""Breaks the ledger and the request's path on purpose, one line at a time, and proves that a test notices.

`python -m tests.mutants` copies the sources to temporary folders, applies one mutant at a time in each and
runs the tests that must notice. A mutant that survives is a failure; one that no longer fits the sources
stops everything before it begins. Names as arguments choose some of the mutants, `--fit` only looks whether
all fit.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parents[1]
LUA = "gateway/budgets/lua"
ROUTING_LUA = "gateway/routing/lua"
LIFE = "gateway/lifecycle"
RESERVE = ("tests/budgets/test_ledger_reserve.py", "tests/budgets/test_ledger_admission.py")
SETTLE = ("tests/budgets/test_ledger_settle.py",)
ROLLING = ("tests/budgets/test_ledger_rolling.py",)
EDITIONS = ("tests/budgets/test_editions.py",)
GRANTS = ("tests/usage/test_grants.py",)
EXPIRY = ("tests/budgets/test_ledger_expiry.py",)
CLAIMS = ("tests/budgets/test_claims.py",)
LEASES = ("tests/routing/test_leases.py",)
LOSS = ("tests/faults/test_loss.py",)
MOVES = ("tests/faults/test_moves.py",)
ALERTS = ("tests/budgets/test_alerts.py",)
REROUTE = ("tests/lifecycle/test_ladder_reroute.py",)
EMERGENCY = ("tests/budgets/test_emergency.py",)
SEATS = ("tests/lifecycle/test_seats.py",)
USES = ("tests/lifecycle/test_uses.py",)
LIMIT_S = 300
AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Mutant:
    """In `file`, `before` (which occurs once) becomes `after`; `tests` must fail then."""

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]
    only: str = ""


MUTANTS = (
    Mutant(
        "changes what the caller wants as it is",
        f"{LIFE}/ladder.py",
        "if caller is False:\n        return []\n    actions",
        "actions",
        REROUTE,
    ),
    Mutant(
        "reroutes for budgets that do not enforce",
        f"{LIFE}/ladder.py",
        'if match.budget.mode == "enforce"',
        "if match.budget.mode",
        REROUTE,
    ),
    Mutant(
        "refuses at the limit", f"{LUA}/reserve.lua", "amounts[d] > limit", "amounts[d] >= limit", RESERVE
    ),
    Mutant(
        "admits one too many", f"{LUA}/reserve.lua", "amounts[d] > limit", "amounts[d] > limit + 1", RESERVE
    ),
    Mutant(
        "ignores what is held",
        f"{LUA}/reserve.lua",
        "if amounts[d] > 0 and spent + held + amounts[d] > limit",
        "if amounts[d] > 0 and spent + amounts[d] > limit",
        RESERVE,
    ),
    Mutant(
        "admits an unknown cost into a budget of cost",
        "gateway/budgets/wire.py",
        "0 if Dimension.COST in counter.limits else NO_LIMIT",
        "NO_LIMIT",
        RESERVE,
    ),
    Mutant(
        "takes an unknown cost for none",
        "gateway/budgets/amounts.py",
        "(0, 1) if self.cost_uusd is None",
        "(0, 0) if self.cost_uusd is None",
        SETTLE,
    ),
    Mutant(
        "counts one part too few of a rolling window",
        f"{LUA}/prelude.lua",
        "for k = 1, trail do",
        "for k = 2, trail do",
        ROLLING,
    ),
    Mutant(
        "ignores what earlier parts hold",
        f"{LUA}/prelude.lua",
        "counter.before.held[d] + earlier.held[d]",
        "counter.before.held[d]",
        ROLLING,
    ),
    Mutant(
        "forgets a part before it left the window",
        f"{LUA}/prelude.lua",
        "counter.lasts = ends + trail * (ends - starts)",
        "counter.lasts = ends",
        ROLLING,
    ),
    Mutant(
        "names a moment at which not enough has left",
        f"{LUA}/reserve.lua",
        "if over <= 0 then",
        "if over <= 1 then",
        ROLLING,
    ),
    Mutant(
        "lets policies that were replaced come back by themselves",
        f"{LUA}/announce.lua",
        "if before and ARGV[2] ~= '1' and kept then",
        "if false then",
        EDITIONS,
    ),
    Mutant(
        "keeps policies out that were written back",
        f"{LUA}/announce.lua",
        "if before and ARGV[2] ~= '1' and kept then",
        "if before and kept then",
        EDITIONS,
    ),
    Mutant(
        "brings a raise back in force that was ended",
        "gateway/budgets/raises.py",
        "if not await redis.hexists(ENDED, one.id):",
        "if True:",
        GRANTS,
    ),
    Mutant(
        "grants a raise that no journal knows",
        "gateway/budgets/raises.py",
        "await self._journal(granted, granted.from_ms)",
        "",
        GRANTS,
    ),
    Mutant("ignores the hold id", f"{LUA}/reserve.lua", "if hold[1] == 'P' then", "if false then", RESERVE),
    Mutant(
        "reserves without a ledger", f"{LUA}/reserve.lua", "if not meta[1] then", "if false then", RESERVE
    ),
    Mutant(
        "ignores the time of grace", f"{LUA}/reserve.lua", "if grace > 0 then", "if false then", LOSS, "grace"
    ),
    Mutant(
        "takes a takeover for a slot that was moved",
        "gateway/store/cluster.py",
        "if owner is None or not _lost_nothing(await _facts(client, owner), written_ms):",
        "if owner is not None:\n        return True\n    if owner is None:",
        MOVES,
        "grace",
    ),
    Mutant(
        "lets a node vouch that started since",
        "gateway/store/cluster.py",
        "started_ms < written_ms",
        "started_ms > 0",
        MOVES,
        "started",
    ),
    Mutant(
        "counts by the wrong bound",
        f"{LUA}/prelude.lua",
        "local bound = row[5]\n    local counter",
        "local bound = 'central'\n    local counter",
        SETTLE,
    ),
    Mutant(
        "leaks what was held",
        f"{LUA}/prelude.lua",
        "counter.held[d] - freed[bound][d]",
        "counter.held[d]",
        SETTLE,
    ),
    Mutant(
        "keeps no tombstone",
        f"{LUA}/settle.lua",
        "redis.call('PEXPIRE', KEYS[1], ARGV[3])",
        "redis.call('DEL', KEYS[1])",
        SETTLE,
    ),
    Mutant(
        "posts a late charge in full",
        f"{LUA}/settle.lua",
        "less(actual.central, reserved.central)",
        "actual.central",
        (*SETTLE, *EXPIRY),
    ),
    Mutant(
        "settles into a lost ledger",
        f"{LUA}/settle.lua",
        "if redis.call('HEXISTS', KEYS[4], 'epoch') == 0 then",
        "if false then",
        RESERVE,
    ),
    Mutant(
        "alerts for each crosser",
        f"{LUA}/prelude.lua",
        "if redis.call('HEXISTS', key, 'alerted:' .. mark) == 1",
        "if false",
        ALERTS,
    ),
    Mutant(
        "alerts of the first limit only",
        f"{LUA}/prelude.lua",
        "alert(to, key, d .. ':' .. name .. ':' .. limit,",
        "alert(to, key, d .. ':' .. name,",
        ALERTS,
    ),
    Mutant(
        "alerts in each bucket of a rolling window",
        f"{LUA}/prelude.lua",
        "if tonumber(redis.call('ZSCORE', alerted, one) or '0') > now then",
        "if false then",
        ROLLING,
    ),
    Mutant(
        "never alerts of a rolling window again",
        f"{LUA}/prelude.lua",
        "if tonumber(redis.call('ZSCORE', alerted, one) or '0') > now then",
        "if redis.call('ZSCORE', alerted, one) then",
        ROLLING,
    ),
    Mutant(
        "alerts one amount late",
        f"{LUA}/prelude.lua",
        "if spent >= tonumber(amount) then",
        "if spent > tonumber(amount) then",
        ALERTS,
    ),
    Mutant("voids what was sent", f"{LUA}/expire.lua", "if hold[2] ~= '1' then", "if true then", EXPIRY),
    Mutant(
        "charges what was not sent", f"{LUA}/expire.lua", "if hold[2] ~= '1' then", "if false then", EXPIRY
    ),
    Mutant(
        "expires before the lease is over",
        f"{LUA}/expire.lua",
        "elseif now_ms() < tonumber(lease_end) then",
        "elseif false then",
        EXPIRY,
    ),
    Mutant(
        "journals no expiry",
        f"{LUA}/expire.lua",
        "post(KEYS[3], kind, ARGV[1], posted.central, posted.high, counters, hold[6])",
        "",
        EXPIRY,
    ),
    Mutant(
        "admits by older policies",
        f"{LUA}/reserve.lua",
        "if ARGV[7] ~= '' and tonumber(ARGV[8]) <",
        "if false and tonumber(ARGV[8]) <",
        RESERVE,
        "older_policies",
    ),
    Mutant(
        "lets two requests have one claim",
        f"{LUA}/reserve.lua",
        "if claim and claim.binding and earlier[1] and",
        "if false and",
        CLAIMS,
    ),
    Mutant(
        "takes a claim over without comparing",
        f"{LUA}/reserve.lua",
        "earlier[1] ~= claim.over then",
        "claim.over == '' then",
        CLAIMS,
    ),
    Mutant(
        "keeps everybody out who repeats without a key",
        f"{LUA}/reserve.lua",
        "claim.binding and",
        "true and",
        CLAIMS,
    ),
    Mutant(
        "makes no claim",
        f"{LUA}/reserve.lua",
        "if claim then\n  redis.call('HSET'",
        "if false then\n  redis.call('HSET'",
        CLAIMS,
    ),
    Mutant(
        "keeps claims for ever",
        f"{LUA}/reserve.lua",
        "redis.call('PEXPIRE', KEYS[#KEYS], int(claim.lives_ms))",
        "",
        CLAIMS,
    ),
    Mutant(
        "forgets that nobody knows",
        f"{LUA}/settle.lua",
        "'known', ARGV[8]",
        "'known', '1'",
        CLAIMS,
    ),
    Mutant(
        "takes an expired hold for one that did not run",
        f"{LUA}/recall.lua",
        "hold[1] == 'R' and 'released' or 'expired'",
        "'released'",
        CLAIMS,
    ),
    Mutant(
        "takes a running hold for one that did not run",
        f"{LUA}/recall.lua",
        "hold[1] == 'P' and 'open'",
        "hold[1] == 'P' and 'released'",
        CLAIMS,
    ),
    Mutant(
        "brings a claim back over another",
        f"{LUA}/reclaim.lua",
        "if redis.call('EXISTS', KEYS[1]) == 1 then",
        "if false then",
        CLAIMS,
    ),
    Mutant(
        "compares no fingerprints",
        "gateway/budgets/claims.py",
        "if fingerprint != claim.fingerprint:",
        "if fingerprint == '':",
        CLAIMS,
    ),
    Mutant(
        "takes a hold that nobody knows for one that did not run",
        "gateway/budgets/claims.py",
        '        if ended is None:\n            return Earlier(hold, "unknown")',
        '        if ended is None:\n            return Earlier(hold, "free")',
        CLAIMS,
    ),
    Mutant(
        "restores a known hold", f"{LUA}/restore.lua", "if state then", "if false then", LOSS, "brought_back"
    ),
    Mutant(
        "adopts an ending twice",
        f"{LUA}/adopt.lua",
        "if state and state ~= 'P' and not corrects then",
        "if false then",
        LOSS,
        "replica_lacks_is_taken",
    ),
    Mutant(
        "rebuilds without the fence",
        f"{LUA}/rebuild.lua",
        "if redis.call('GET', KEYS[2]) ~= ARGV[1] then",
        "if false then",
        ("tests/budgets/test_recovery.py",),
    ),
    Mutant(
        "takes its fence over under the same name",
        "gateway/budgets/recovery.py",
        'f"{process}:{uuid.uuid4().hex}"',
        'f"{process}:"',
        LOSS,
        "arrives_late",
    ),
    Mutant(
        "lets its fence fall while it works",
        "gateway/budgets/recovery.py",
        'while answer[0] == "kept":',
        'while answer[0] == "":',
        LOSS,
        "longer_than_its_fence",
    ),
    Mutant(
        "begins a known org at zero",
        "gateway/budgets/presence.py",
        'begins = "1" if await self._remember(org, epoch) else "0"',
        'begins = "1"; await self._remember(org, epoch)',
        LOSS,
        "lost_ledger",
    ),
    Mutant(
        "counts an entry twice in SQL",
        "gateway/usage/storing.py",
        "fresh = await _counting(connection, org, await _unknown(connection, org, entries, turn))",
        "fresh = list(entries)",
        ("tests/usage/test_storing.py",),
    ),
    Mutant(
        "counts an ending that two servers posted twice",
        "gateway/usage/storing.py",
        "counts = before.counts(entry)",
        "counts = entry",
        LOSS,
        "before_sql_is_asked",
    ),
    Mutant(
        "takes two entries of one id for one",
        "gateway/usage/storing.py",
        "elif hold != entry.hold and",
        "elif False and",
        ("tests/usage/test_turns.py",),
        "two_servers",
    ),
    Mutant(
        "takes entries of a server that was replaced",
        "gateway/usage/turns.py",
        "if newest is not None and newest > turn:",
        "if False:",
        ("tests/usage/test_turns.py",),
        "earlier_server",
    ),
    Mutant(
        "takes any server for the one there always was",
        "gateway/budgets/presence.py",
        "return turn if before is None else before",
        "return turn",
        LOSS,
        "started_after",
    ),
    Mutant(
        "forgets orgs that a replica has not heard of",
        "gateway/budgets/expiry.py",
        "await self._presence.recall(listed)",
        "del listed",
        LOSS,
        "not_heard_of",
    ),
    Mutant(
        "ignores claims",
        f"{LUA}/reserve.lua",
        "if claim and claim.binding and",
        "if false and claim.binding and",
        ("tests/budgets/test_claims.py",),
        "second_of_two",
    ),
    Mutant(
        "admits by the clock of another day",
        "gateway/store/connection.py",
        "if abs(offset_s) > WRONG_DAY_S:",
        "if False:",
        ("tests/store/test_connection.py",),
        "another_day",
    ),
    Mutant(
        "passes one more than its share",
        "gateway/budgets/emergency.py",
        "before[dimension] + requested[dimension] <= share",
        "before[dimension] <= share",
        EMERGENCY,
    ),
    Mutant(
        "gives every process the whole allowance",
        "gateway/budgets/policy.py",
        "limit // self.processes",
        "limit",
        EMERGENCY,
    ),
    Mutant(
        "lets more processes pass than were declared",
        "gateway/budgets/emergency.py",
        "emergency is None or seat > emergency.processes",
        "emergency is None",
        EMERGENCY,
    ),
    Mutant(
        "passes what no budget allows",
        "gateway/budgets/emergency.py",
        "return bool(enforced) and all(",
        "return all(",
        EMERGENCY,
    ),
    Mutant(
        "has an allowance without having seen the store",
        "gateway/budgets/ledger.py",
        "raise LedgerUnavailable(reason, asked=False)",
        "raise LedgerUnavailable(reason, away=True, asked=False)",
        USES,
        "started_without",
    ),
    Mutant(
        "sends before it is written",
        f"{LIFE}/uses.py",
        "                await asyncio.to_thread(self._seat.write, posting)\n            except",
        "                await asyncio.sleep(0)\n            except",
        USES,
        "on_disk_before",
    ),
    Mutant(
        "forgets a seat that is taken again",
        f"{LIFE}/seats.py",
        "self._uses[line.hold] = Use(posting_of(line))",
        "pass",
        SEATS,
    ),
    Mutant(
        "lets keys pass without the store",
        f"{LIFE}/account.py",
        "if uses is None or (ask.claim is not None and ask.claim.binding):",
        "if uses is None:",
        USES,
        "idempotency_key",
    ),
    Mutant(
        "charges again what SQL has",
        f"{LIFE}/settlement.py",
        "if used and await self.ledger.losses.was_posted(posting.org, posting.hold):",
        "if False:",
        USES,
        "tombstone",
    ),
    Mutant(
        "no shield",
        f"{LIFE}/serve.py",
        "await asyncio.wait({life, ready}, return_when=asyncio.FIRST_COMPLETED)",
        "await life",
        ("tests/faults/test_cancelled.py",),
        "handler",
    ),
    Mutant(
        "no mark before sending",
        f"{LIFE}/life.py",
        "await self._ledger.dispatch(ask.subject.org, ask.id, record)",
        "await asyncio.sleep(0)",
        ("tests/e2e/test_processes.py",),
        "killed_gateway",
    ),
    Mutant(
        "sends again when nobody knows",
        f"{LIFE}/tries.py",
        "return unsure <= self.retries.ambiguous and",
        "return",
        ("tests/lifecycle/test_tries.py",),
    ),
    Mutant(
        "charges nothing when nobody knows",
        f"{LIFE}/life.py",
        'await self._account.charge_as_held(route, outcome="unknown", status=error.status)',
        'await self._account.release(route, outcome="unknown", status=error.status)',
        ("tests/lifecycle/test_serve.py",),
        "cannot_be_trusted",
    ),
    Mutant(
        "charges a client that left nothing",
        f"{LIFE}/life.py",
        'await self._account.charge_as_held(route, outcome="client_gone", status=None)',
        'await self._account.release(route, outcome="client_gone", status=None)',
        ("tests/lifecycle/test_serve.py",),
        "hangs_up",
    ),
    Mutant(
        "forgets the charge of an attempt that may have run",
        f"{LIFE}/tries.py",
        "for one in reversed(self.made):",
        "for one in self.made[-1:]:",
        ("tests/lifecycle/test_tries.py",),
    ),
    Mutant(
        "waits for a slot although a budget refuses",
        f"{LIFE}/slot.py",
        "                await before_waiting()\n",
        "",
        ("tests/lifecycle/test_slot.py",),
        "nobody_has_room",
    ),
    Mutant(
        "refuses for good what only others hold",
        "gateway/budgets/verdict.py",
        "nothing = dict.fromkeys(Dimension, 0)",
        "nothing = balances[0].held if balances else {}",
        ("tests/budgets/test_verdict.py",),
    ),
    Mutant(
        "leases one slot too many",
        f"{ROUTING_LUA}/take.lua",
        "used[i] < capacity",
        "used[i] <= capacity",
        LEASES,
    ),
    Mutant(
        "lets everybody probe",
        f"{ROUTING_LUA}/take.lua",
        "if states[chosen] == 'half_open' then",
        "if false then",
        LEASES,
    ),
    Mutant(
        "gives no slot back",
        f"{ROUTING_LUA}/leave.lua",
        "redis.call('ZREM', KEYS[1], ARGV[1])",
        "",
        LEASES,
    ),
    Mutant(
        "revives a slot that was given back",
        f"{ROUTING_LUA}/renew.lua",
        "or redis.call('ZSCORE', leases, id)",
        "or true",
        LEASES,
    ),
    Mutant(
        "ejects everybody",
        f"{ROUTING_LUA}/leave.lua",
        "if ejected < tonumber(ARGV[9]) then",
        "if true then",
        LEASES,
    ),
    Mutant(
        "forgets a settlement that the store did not take",
        f"{LIFE}/settlement.py",
        'waits for the ledger: %s", posting.hold, error)\n        self._queue[posting.hold] = posting\n',
        'waits for the ledger: %s", posting.hold, error)\n        return\n',
        ("tests/lifecycle/test_settlement.py",),
    ),
    Mutant(
        "renews no lease",
        f"{LIFE}/settlement.py",
        "if not self._open:",
        "if self._open:",
        ("tests/lifecycle/test_settlement.py",),
        "renewed",
    ),
    Mutant(
        "opens no breaker on timeouts",
        "gateway/budgets/breaker.py",
        "AWAY: Final = (TimeoutError, OSError,",
        "AWAY: Final = (KeyError,",
        ("tests/budgets/test_breaker.py",),
    ),
)


def fits(mutant: Mutant) -> bool:
    return (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.before) == 1


def killed(mutant: Mutant, copy: Path) -> bool:
    """Whether the tests noticed."""
    file = copy / mutant.file
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(mutant.before, mutant.after), encoding="utf-8")
    try:
        chosen = ["-k", mutant.only] if mutant.only else []
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "", *chosen]
        ran = subprocess.run(
            [*command, *mutant.tests], cwd=copy, capture_output=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return True
    finally:
        file.write_text(text, encoding="utf-8")
    return ran.returncode == 1  # 0: all passed; others: the tests did not run


def copied(folder: Path) -> Path:
    """The sources, to be broken."""
    for part in ("gateway", "tests", "policies", "openapi", "deploy"):
        if (ROOT / part).exists():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def main(names: list[str]) -> int:
    unfit = [one.name for one in MUTANTS if not fits(one)]
    if unfit:
        print(f"these mutants do not fit the sources any more: {', '.join(unfit)}")  # noqa: T201
        return 2
    if names == ["--fit"]:
        print(f"all {len(MUTANTS)} mutants fit")  # noqa: T201
        return 0
    wanted = [one for one in MUTANTS if not names or one.name in names]
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="ecogate-mutants-") as folder,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(AT_ONCE):
            copies.put(copied(Path(folder) / str(number)))

        def judge(mutant: Mutant) -> bool:
            copy, at = copies.get(), time.monotonic()
            noticed = killed(mutant, copy)
            copies.put(copy)
            word = "killed" if noticed else "SURVIVED"
            print(f"{word:9}{time.monotonic() - at:5.0f} s  {mutant.name}", flush=True)  # noqa: T201
            return noticed

        noticed = sum(pool.map(judge, wanted))
    print(f"{noticed} of {len(wanted)} mutants killed in {time.monotonic() - began:.0f} s")  # noqa: T201
    return 0 if noticed == len(wanted) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
