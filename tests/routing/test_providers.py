"""Every provider against recorded answers from a real socket."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.routing.providers.fuels import G_PER_KWH, intensity
from gateway.routing.providers.registry import PROVIDERS
from gateway.routing.providers.source import SourceFailed
from tests.routing.sources import AREAS, PATHS, SAMPLES, Source, at, fetched, maps, shown, source_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def source() -> AsyncIterator[Source]:
    async with source_running() as running:
        running.says("/login", '{"token": "t"}')
        yield running


async def test_electricity_maps_is_asked_for_this_zone_only(source: Source) -> None:
    source.plays(PATHS["electricity-maps"], "electricitymaps_carbon_intensity_history.json")

    readings = await fetched(source, "electricity-maps", "2024-03-06T18:30")

    assert shown(readings)[:2] == [("2024-03-05T20", 599, False, False), ("2024-03-05T21", 607, False, False)]
    assert {(one.zone, one.kind, one.source) for one in readings} == {
        ("DE", "average-lifecycle", "electricity-maps")
    }
    asked = source.asked[0]
    assert asked.query["disableCallerLookup"] == "true"
    assert asked.query["zone"] == "DE"
    assert asked.headers["auth-token"] == "user:secret"


async def test_electricity_maps_values_that_are_none_are_left_out(source: Source) -> None:
    body = {
        "zone": "DE",
        "history": [
            {"carbonIntensity": None, "datetime": "2024-03-05T20:00:00Z"},
            {"datetime": "2024-03-05T21:00:00Z"},
            {"carbonIntensity": "311.5", "datetime": "2024-03-05T22:00:00+00:00", "isEstimated": True},
            {"carbonIntensity": 0, "datetime": "2024-03-05T23:00Z"},
            {"carbonIntensity": 99999, "datetime": "2024-03-06T00:00Z"},
            {"carbonIntensity": 300, "datetime": "soon"},
        ],
    }
    source.says(PATHS["electricity-maps"], json.dumps(body))

    readings = await fetched(source, "electricity-maps", "2024-03-06T18:30")

    assert shown(readings) == [("2024-03-05T22", 311.5, True, False)]


async def test_watttime_is_marginal_and_converted_from_pounds(source: Source) -> None:
    source.plays(PATHS["watttime"], "watttime_historical_emissions_response.json")

    readings = await fetched(source, "watttime", "2022-07-15T01:00")

    assert shown(readings) == [("2022-07-15T00", round(865 * 0.45359237, 2), True, False)]
    assert readings[0].kind == "marginal"
    assert source.asked[0].headers["authorization"].startswith("Basic ")
    assert source.asked[1].headers["authorization"] == "Bearer t"


async def test_watttime_percentiles_are_not_taken_for_emissions(source: Source) -> None:
    body = {
        "data": [{"point_time": "2022-07-15T00:00:00+00:00", "value": 54}],
        "meta": {"units": "percentile", "region": "CAISO_NORTH", "signal_type": "co2_moer"},
    }
    source.says(PATHS["watttime"], json.dumps(body))

    with pytest.raises(SourceFailed, match="not in lbs_co2_per_mwh"):
        await fetched(source, "watttime", "2022-07-15T01:00")


async def test_watttime_that_denies_a_region_is_left_alone_for_an_hour(source: Source) -> None:
    source.plays(PATHS["watttime"], "watttime_invalid_scope_response.json")
    source.answers[PATHS["watttime"]] = (403, *source.answers[PATHS["watttime"]][1:])

    with pytest.raises(SourceFailed) as failed:
        await fetched(source, "watttime", "2022-07-15T01:00")
    assert failed.value.pause_s == 3600


async def test_neso_uses_the_actual_value_and_else_the_forecast_as_an_estimate(source: Source) -> None:
    source.plays(PATHS["neso"], "uk_carbonintensity_date_2026-03-20_excerpt.json")
    assert shown(await fetched(source, "neso", "2026-03-20T03:00")) == [
        ("2026-03-20T00", 171, False, False),
        ("2026-03-20T02", 168, False, False),
    ]

    newest = {"data": [{"from": "2026-03-20T03:00Z", "intensity": {"forecast": 190, "actual": None}}]}
    source.says(PATHS["neso"], json.dumps(newest))
    assert shown(await fetched(source, "neso", "2026-03-20T03:10")) == [("2026-03-20T03", 190, True, False)]


async def test_energy_charts_marks_what_it_forecasts(source: Source) -> None:
    source.plays(PATHS["energy-charts"], "energy_charts_co2eq_shape.json")

    assert shown(await fetched(source, "energy-charts", "2026-01-01T00:40")) == [
        ("2026-01-01T00", round((312.4 + 308.9 + 305.1) / 3, 2), True, False)
    ]
    source.says(PATHS["energy-charts"], '{"unix_seconds": [1, 2], "co2eq": [3]}')
    with pytest.raises(SourceFailed, match="do not match"):
        await fetched(source, "energy-charts", "2026-01-01T00:40")


async def test_rte_is_read_in_both_generations_of_its_portal(source: Source) -> None:
    source.plays(PATHS["rte"], "rte_eco2mix_odre_records.json")
    oldest = shown(await fetched(source, "rte", "2023-09-22T00:00"))[:1]
    assert oldest == [("2023-09-21T00", 13, True, False)]

    source.says(
        PATHS["rte"], '{"results": [{"date_heure": "2023-09-21T02:45:00+02:00", "taux_co2": 13}, {"x": 1}]}'
    )
    assert shown(await fetched(source, "rte", "2023-09-22T00:00")) == oldest


async def test_eia_reads_numbers_and_text_and_mixes_fuels(source: Source) -> None:
    def row(fuel: str, value: Any, period: str = "2022-10-31T11") -> dict[str, Any]:
        return {"period": period, "respondent": "PACW", "fueltype": fuel, "value": value}

    source.plays(PATHS["eia"], "eia930_fuel_type_data.json")
    assert shown(await fetched(source, "eia", "2022-11-01T00:00"))[0][:2] == ("2022-10-31T11", 490)

    data = [row("COL", "50"), row("WND", 50), row("WND", 50), row("SUN", "0")]
    source.says(PATHS["eia"], json.dumps({"response": {"data": data}}))
    assert shown(await fetched(source, "eia", "2022-11-01T00:00")) == [
        ("2022-10-31T11", (820 + 11) / 2, True, False)
    ]

    late = [
        row("COL", "50", "2022-10-31T12"),
        row("WND", None, "2022-10-31T12"),
        row("SUN", 0, "2022-10-31T12"),
    ]
    source.says(PATHS["eia"], json.dumps({"response": {"data": [*data, *late]}}))
    assert [hour for hour, *_ in shown(await fetched(source, "eia", "2022-11-01T00:00"))] == ["2022-10-31T11"]


def generation(
    *types: tuple[str, str, str], area: str = "10Y1001A1001A47J", resolution: str = "PT60M"
) -> str:
    """A document with (psrType, points, end) per time series; the start is always midnight."""
    series = "".join(
        f"<TimeSeries><inBiddingZone_Domain.mRID>{area}</inBiddingZone_Domain.mRID>"
        f"<MktPSRType><psrType>{code}</psrType></MktPSRType><Period><timeInterval>"
        f"<start>2025-10-20T00:00Z</start><end>{end}</end></timeInterval>"
        f"<resolution>{resolution}</resolution>{points}</Period></TimeSeries>"
        for code, points, end in types
    )
    namespace = "urn:iec62325.351:tc57wg16:451-6:generationloaddocument:3:0"
    return f'<GL_MarketDocument xmlns="{namespace}">{series}</GL_MarketDocument>'


def point(position: int, quantity: float) -> str:
    return f"<Point><position>{position}</position><quantity>{quantity}</quantity></Point>"


async def test_entsoe_repeats_points_left_out_and_skips_incomplete_hours(source: Source) -> None:
    wind = ("B19", point(1, 100) + point(3, 50), "2025-10-20T04:00Z")
    gas = ("B04", point(1, 100), "2025-10-20T03:00Z")
    source.says("/api", generation(wind, gas))

    assert shown(await fetched(source, "entsoe", "2025-10-20T06:00")) == [
        ("2025-10-20T00", 250.5, True, False),
        ("2025-10-20T01", 250.5, True, False),
        ("2025-10-20T02", round((100 * 490 + 50 * 11) / 150, 2), True, False),
    ]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<html>busy</html>", "no generation"),
        ("not xml", "no XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "document type"),
        (generation(("B19", point(1, 5), "2025-10-20T04:00Z"), area="10Y-ANOTHER"), "another bidding zone"),
        (generation(("B19", point(1, 5), "2025-10-20T04:00Z"), resolution="P1Y"), "resolution"),
    ],
)
async def test_entsoe_answers_that_cannot_be_used_are_refused(source: Source, body: str, said: str) -> None:
    source.says("/api", body)

    with pytest.raises(SourceFailed, match=said):
        await fetched(source, "entsoe", "2025-10-20T06:00")


async def test_energinet_averages_five_minute_values(source: Source) -> None:
    records = [
        {"Minutes5UTC": f"2025-02-21T22:{minute:02}:00", "PriceArea": "DK1", "CO2Emission": value}
        for minute, value in ((0, 80.0), (5, 100.0), (10, None))
    ]
    source.says(PATHS["energinet"], json.dumps({"records": records}))

    assert shown(await fetched(source, "energinet", "2025-02-21T23:00")) == [
        ("2025-02-21T22", 90, False, False)
    ]


async def test_the_carbon_aware_sdk_rates_its_location(source: Source) -> None:
    source.plays(PATHS["carbon-aware-sdk"], "gsf_sdk_bylocations_best.json")

    readings = await fetched(source, "carbon-aware-sdk", "2022-05-17T21:00")

    assert shown(readings) == [("2022-05-17T20", 70, False, False)]
    assert readings[0].kind == "marginal"


WRONG = {
    "electricity-maps": '{"zone": "FR", "history": []}',
    "energinet": '{"records": [{"PriceArea": "DK2"}]}',
    "eia": '{"response": {"data": [{"respondent": "PJM"}]}}',
    "carbon-aware-sdk": '[{"location": "westus"}]',
    "watttime": '{"data": [], "meta": {"units": "lbs_co2_per_mwh", "region": "PJM"}}',
}


@pytest.mark.parametrize("name", WRONG)
async def test_an_answer_about_another_place_is_refused(source: Source, name: str) -> None:
    source.says(PATHS[name], WRONG[name])

    with pytest.raises(SourceFailed, match="another"):
        await fetched(source, name, "2024-01-01T00:00")


async def test_electricity_maps_that_does_not_say_which_zone_it_answers_is_refused(source: Source) -> None:
    source.says(PATHS["electricity-maps"], json.dumps({"history": [at("2024-03-05T20:00Z")]}))

    with pytest.raises(SourceFailed, match="another zone"):
        await fetched(source, "electricity-maps", "2024-03-06T18:30")


async def test_an_estimate_of_electricity_maps_is_called_one_and_another_kind_is_refused(
    source: Source,
) -> None:
    latest = json.loads((SAMPLES / "electricitymaps_carbon_intensity_latest.json").read_text())
    row = {**latest, "zone": "DE"}
    source.says(PATHS["electricity-maps"], maps(row))
    readings = await fetched(source, "electricity-maps", "2024-03-06T19:30")
    assert shown(readings) == [("2024-03-06T19", 216, True, False)]

    source.says(PATHS["electricity-maps"], maps({**row, "emissionFactorType": "direct"}))
    with pytest.raises(SourceFailed, match="another kind"):
        await fetched(source, "electricity-maps", "2024-03-06T19:30")

    source.says(PATHS["electricity-maps"], maps(latest))
    with pytest.raises(SourceFailed, match="another zone"):
        await fetched(source, "electricity-maps", "2024-03-06T19:30")


@pytest.mark.parametrize(("warnings", "estimated"), [([], False), ([{"type": "T", "message": "m"}], True)])
async def test_what_watttime_warns_about_is_an_estimate(
    source: Source, warnings: list[Any], estimated: object
) -> None:
    meta = {"units": "lbs_co2_per_mwh", "region": "CAISO_NORTH", "signal_type": "co2_moer"}
    data = [{"point_time": "2022-07-15T00:00:00+00:00", "value": "1000"}]
    source.says(PATHS["watttime"], json.dumps({"data": data, "meta": {**meta, "warnings": warnings}}))

    readings = await fetched(source, "watttime", "2022-07-15T01:00")

    assert shown(readings) == [("2022-07-15T00", 453.59, estimated, False)]


async def test_a_refused_login_of_watttime_ends_there(source: Source) -> None:
    source.says("/login", "{}", 401)

    with pytest.raises(SourceFailed) as failed:
        await fetched(source, "watttime", "2022-07-15T01:00")

    assert failed.value.pause_s == 3600
    assert [request.path for request in source.asked] == ["/login"]


async def test_watttime_signals_of_the_index_are_percentiles_and_refused(source: Source) -> None:
    source.plays(PATHS["watttime"], "watttime_realtime_emissions_response.json")

    with pytest.raises(SourceFailed, match="not in lbs_co2_per_mwh"):
        await fetched(source, "watttime", "2024-06-18T19:00")


async def test_a_document_of_entsoe_that_was_cut_off_is_refused(source: Source) -> None:
    whole = generation(("B19", point(1, 100), "2025-10-20T04:00Z"))
    source.says(PATHS["entsoe"], whole[: len(whole) // 2])

    with pytest.raises(SourceFailed, match="no XML"):
        await fetched(source, "entsoe", "2025-10-20T06:00")


@pytest.mark.parametrize("encoding", ["nothing-known", "utf-7", "shift_jis"])
async def test_a_document_in_an_encoding_that_nobody_reads_is_refused(source: Source, encoding: str) -> None:
    source.says(PATHS["entsoe"], f'<?xml version="1.0" encoding="{encoding}"?><GL_MarketDocument/>')

    with pytest.raises(SourceFailed, match="no XML"):
        await fetched(source, "entsoe", "2025-10-20T06:00")


async def test_a_period_of_thousands_of_years_is_not_gone_through(source: Source) -> None:
    source.says(PATHS["entsoe"], generation(("B19", point(1, 100), "9999-10-20T04:00Z")))

    with pytest.raises(SourceFailed, match="longer than"):
        await fetched(source, "entsoe", "2025-10-20T06:00")


def test_zones_are_named_as_each_provider_names_them() -> None:
    for name, (zone, area) in AREAS.items():
        provider = PROVIDERS[name]
        given = provider.area(zone)
        assert given in (area, None)
        assert provider.area("XX-NOWHERE-ELSE-AT-ALL") in (None, "XX-NOWHERE-ELSE-AT-ALL")
    assert PROVIDERS["energy-charts"].area("SE-SE3") is None


def test_a_mix_of_nothing_has_no_intensity() -> None:
    assert intensity({"wind": 0, "hydro": -20}) is None
    assert intensity({"other": 10}) == G_PER_KWH["gas"]
