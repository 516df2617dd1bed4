"""Each script's header is its contract: these tests keep it true."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from gateway.budgets.scripts import Script

LUA = files("gateway.budgets") / "lua"
VERBS = sorted(
    entry.name.removesuffix(".lua")
    for entry in LUA.iterdir()
    if entry.name.endswith(".lua") and entry.name != "prelude.lua"
)
MUST_WORK_WHEN_FULL = {
    *("dispatch", "renew", "settle", "release", "expire"),
    *("pulse", "restore", "adopt", "fence", "rebuild", "claim", "reclaim", "announce", "vouch"),
}


def parts(verb: str) -> tuple[str, str, str]:
    """The `#!lua` line, the header and the code of a script."""
    flags, rest = (LUA / f"{verb}.lua").read_text(encoding="utf-8").split("\n", 1)
    lines = rest.split("\n")
    end = next(n for n, line in enumerate(lines) if not line.startswith("--"))
    code = "\n".join(line.split(" -- ")[0] for line in lines[end:])
    return flags, "\n".join(lines[:end]), code


def documented(header: str, array: str) -> tuple[set[int], int | None]:
    """The indexes that the header lists one by one, and the one from which the rest is open."""
    text = "   ".join(
        line[len(f"-- {array}") :] for line in header.split("\n") if line.startswith(f"-- {array}")
    )
    items = re.findall(r"(?:^|  )(\d+)(\.\.)? ", text)
    single = {int(number) for number, more in items if not more}
    rest = [int(number) for number, more in items if more]
    assert len(rest) <= 1
    return single, rest[0] if rest else None


def used(code: str, array: str) -> tuple[set[int], bool]:
    """The literal indexes that the code reads, and whether it reads others or the whole array."""
    single = {int(number) for number in re.findall(rf"\b{array}\[(\d+)\]", code)}
    computed = re.search(rf"\b{array}\[[^\]\d]|\b{array}\[\d+ |#{array}\b|\({array},", code)
    return single, computed is not None


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("array", ["KEYS", "ARGV"])
def test_the_header_lists_exactly_the_keys_and_arguments_that_the_code_reads(verb: str, array: str) -> None:
    _, header, code = parts(verb)

    single, rest = documented(header, array)

    assert used(code, array) == (single, rest is not None)
    assert single == set(range(1, len(single) + 1))
    assert rest in (None, len(single) + 1)


@pytest.mark.parametrize("verb", VERBS)
def test_the_header_opens_with_the_verb_and_states_answers_and_invariant(verb: str) -> None:
    _, header, code = parts(verb)

    assert header.startswith(f"-- {verb}: ")
    returns = header.split("-- Returns ")[1].split("-- Invariant: ")
    assert len(returns) == 2
    for verdict in re.findall(r"return \{ '(\w+)'", code):
        assert f'"{verdict}"' in returns[0]


@pytest.mark.parametrize("verb", VERBS)
def test_only_what_takes_room_is_refused_by_a_full_store(verb: str) -> None:
    flags, _, _ = parts(verb)

    expected = dict.fromkeys(("reserve", "refuse", "begin", "rate"), "#!lua")
    expected |= dict.fromkeys(("balance", "recall"), "#!lua flags=no-writes")
    assert flags == ("#!lua flags=allow-oom" if verb in MUST_WORK_WHEN_FULL else expected[verb])


@pytest.mark.parametrize("verb", [*VERBS, "prelude"])
def test_no_script_makes_a_key_or_a_number_of_its_own(verb: str) -> None:
    text = (LUA / f"{verb}.lua").read_text(encoding="utf-8")

    assert "eg:" not in text
    assert "tostring(" not in text.replace("-- tostring()", "")


def test_the_text_that_is_sent_is_the_prelude_behind_the_flags() -> None:
    script = Script.load("settle")

    assert script.text.startswith("#!lua flags=allow-oom\n-- prelude: ")
    assert "-- settle: " in script.text
    assert len(script.sha) == 40
