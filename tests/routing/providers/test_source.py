"""What goes wrong with sources of every kind, over a real socket: refusals, bodies, times, delays."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.providers.source import SourceFailed, instant, number, retry_after_s
from tests.routing.sources import PATHS, Source, at, fetched, maps, shown, source_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def source() -> AsyncIterator[Source]:
    async with source_running() as running:
        running.says("/login", '{"token": "t"}')
        yield running


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize(
    ("status", "headers", "pause_s"),
    [
        (401, {}, 3600),
        (403, {}, 3600),
        (404, {}, 3600),
        (429, {"retry-after": "77"}, 77),
        (429, {}, 300),
        (500, {}, 300),
        (503, {"retry-after": "9"}, 9),
    ],
)
async def test_a_refusing_source_is_left_alone_for_as_long_as_it_says(
    source: Source, name: str, status: int, headers: dict[str, str], pause_s: float
) -> None:
    source.says(PATHS[name], "{}", status, **headers)

    with pytest.raises(SourceFailed) as failed:
        await fetched(source, name, "2024-01-01T00:00")
    assert failed.value.pause_s == pause_s


async def test_a_time_is_the_same_in_every_way_of_writing_it(source: Source) -> None:
    ways = ["T20:00:00Z", "T20:00:00+00:00", "T20:00:00.000Z", "T20:00Z", "T20:00", "T22:00:00+02:00"]
    for way in ways:
        source.says(PATHS["electricity-maps"], maps(at(f"2024-03-05{way}")))
        readings = await fetched(source, "electricity-maps", "2024-03-06T18:30")
        assert shown(readings) == [("2024-03-05T20", 300, False, False)]


async def test_gaps_stay_gaps_duplicates_count_once_and_more_hours_than_asked_are_kept(
    source: Source,
) -> None:
    rows = [at(f"2024-03-05T{hour:02}:00Z", 200 + hour) for hour in range(24) if hour != 7]
    rows += [at("2024-03-06T00:00Z", 224), at("2024-03-06T00:30Z", 300)]
    rows += [at("2024-03-06T00:30Z", 324), at("2024-03-06T02:00Z", 226)]
    source.says(PATHS["electricity-maps"], maps(*rows))

    found = shown(await fetched(source, "electricity-maps", "2024-03-06T01:30"))

    assert len(found) == 25
    assert "2024-03-05T07" not in {hour for hour, *_ in found}
    assert found[-2:] == [("2024-03-06T00", 274, False, False), ("2024-03-06T02", 226, False, True)]


@pytest.mark.parametrize("updated", ["2031-01-01T00:00:00Z", "2019-01-01T00:00:00Z", None, 7])
async def test_an_age_goes_by_the_hour_described_and_not_by_when_it_was_written(
    source: Source, updated: object
) -> None:
    row = {**at("2024-03-05T20:00Z"), "updatedAt": updated}
    source.says(PATHS["electricity-maps"], maps(row, updatedAt=updated))

    readings = await fetched(source, "electricity-maps", "2024-03-06T18:30")

    assert shown(readings) == [("2024-03-05T20", 300, False, False)]


HOSTILE = {
    "cut off": b'{"zone": "DE", "history": [{"carbonIntensity": 3',
    "not UTF-8": b'{"zone": "\xff\xfe"}',
    "very deep": b"[" * 200_000,
    "compressed, says nobody": b"\x1f\x8b\x08\x00",
}


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
async def test_a_body_that_cannot_be_read_is_a_failure_of_the_source(
    source: Source, name: str, body: bytes
) -> None:
    source.says(PATHS[name], body)

    with pytest.raises(SourceFailed):
        await fetched(source, name, "2024-01-01T00:00")


async def test_a_number_without_end_is_none(source: Source) -> None:
    body = maps(at("2024-03-05T20:00Z")).replace("300", "3" + "0" * 400)
    source.says(PATHS["electricity-maps"], body)

    assert await fetched(source, "electricity-maps", "2024-03-06T18:30") == []


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_whatever_stands_for_a_number_or_a_time_is_one_or_none(value: Any) -> None:
    read, when = number(value), instant(value)

    assert read is None or math.isfinite(read)
    assert when is None or math.isfinite(when)


@given(st.text() | st.datetimes().map(lambda one: one.strftime("%a, %d %b %Y %H:%M:%S -0000")))
def test_every_retry_after_gives_a_bounded_time(text: str) -> None:
    assert 1 <= retry_after_s(text) <= 6 * 3600


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("body", ["<html><body>Maintenance</body></html>", "[]", "{}", '"text"', "null", ""])
async def test_a_body_without_data_is_never_read_as_a_value(source: Source, name: str, body: str) -> None:
    source.says(PATHS[name], body)

    try:
        readings = await fetched(source, name, "2024-01-01T00:00")
    except SourceFailed:
        return
    assert readings == []


@pytest.mark.parametrize("name", PATHS)
async def test_a_source_that_does_not_answer_in_time_has_failed(source: Source, name: str) -> None:
    source.delay_s = 0.3

    with pytest.raises(SourceFailed, match="no answer"):
        await fetched(source, name, "2024-01-01T00:00", timeout_s=0.05)


async def test_a_source_that_is_not_there_has_failed() -> None:
    with pytest.raises(SourceFailed, match="no answer"):
        await fetched(Source(url="http://127.0.0.1:1"), "neso", "2024-01-01T00:00")


async def test_hours_that_have_not_begun_are_forecasts(source: Source) -> None:
    data = [{"from": "2026-03-20T05:00Z", "intensity": {"forecast": 190, "actual": None}}]
    source.says(PATHS["neso"], json.dumps({"data": data}))

    assert shown(await fetched(source, "neso", "2026-03-20T04:59"))[0][3] is True


@pytest.mark.parametrize(
    ("text", "seconds"), [(None, 300), ("12", 12), ("0", 1), ("never", 300), ("1e99", 21600), ("nan", 300)]
)
def test_retry_after_is_bounded(text: str | None, seconds: float) -> None:
    assert retry_after_s(text) == seconds


@pytest.mark.parametrize("zone", ["GMT", "-0000"])
def test_a_date_in_retry_after_is_a_time_to_wait_for(zone: str) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=30)

    assert retry_after_s(f"Wed, 21 Oct 2015 07:28:00 {zone}") == 1
    assert 1700 < retry_after_s(f"{soon:%a, %d %b %Y %H:%M:%S} {zone}") <= 1800
