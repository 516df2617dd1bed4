from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.footprint.entries import Gpu, GridZone, Model, Region, TokenRule

CITED = {"source": "our measurements", "year": 2026}
FRANCE = {"zone": "FR", "country": "France", "gco2e_per_kwh": 1.0, **CITED}
REGION = {
    "provider": "mine", "region": "a", "pue": 1.1, "pue_year": 2026, "pue_basis": "region",
    "pue_source": "our meter", "wue_l_per_kwh": 0.0, "wue_year": 2026, "wue_basis": "region",
    "wue_water": "consumption", "wue_source": "our meter",
}  # fmt: skip
RULE = {"id": "r", "largest_size": "64x64", **CITED}


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (Gpu, {"id": "g", "tdp_w": 1.0, "bf16_tflops": 1.0, "step_j": 1.0, **CITED}, "stand together"),
        (Gpu, {"id": "g", "tdp_w": 1.0, "bf16_tflops": 1.0, "adpe_kg": 1.0, **CITED}, "stand together"),
        (
            GridZone,
            {**FRANCE, "ewif_year": 2020},
            "ewif",
        ),
        (GridZone, {"zone": "fr", "country": "France", "gco2e_per_kwh": 1.0, **CITED}, "pattern"),
        (GridZone, {"zone": "FR", "country": "France", "gco2e_per_kwh": 0.0, **CITED}, "greater than 0"),
        (
            GridZone,
            {**FRANCE, "basis": "net"},
            "direct",
        ),
        (Region, {**REGION, "market_gco2e_per_kwh": 0.0}, "market_source"),
        (Region, {**REGION, "pue": 0.9}, "greater than or equal to 1"),
        (TokenRule, {**RULE, "kind": "flat", "tokens": 5}, "flat rule"),
        (TokenRule, {**RULE, "kind": "flat", "tokens": 5, "pixels": 9, "cells": {"low": 3}}, "flat rule"),
        (
            TokenRule,
            {**RULE, "kind": "tiers", "tiers": [{"pixels": 9, "tokens": 5}, {"pixels": 4, "tokens": 9}]},
            "rising order",
        ),
        (Model, {"id": "m", "kind": "tokens", "names": ["m"], **CITED}, "token_rule and energy"),
        (Model, {"id": "m", "kind": "diffusion", "names": ["m"], **CITED}, "architecture"),
        (
            Model,
            {"id": "m", "kind": "proxy", "names": [], "largest_size": "64x64", **CITED},
            "at least 1 item",
        ),
    ],
)
def test_half_an_entry_is_refused(kind: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        kind.model_validate(fields)


def test_disclosed_zeros_are_claims() -> None:
    region = Region.model_validate({**REGION, "market_gco2e_per_kwh": 0.0, "market_source": "our contracts"})

    assert (region.wue_l_per_kwh, region.market_gco2e_per_kwh) == (0.0, 0.0)


def test_lists_of_a_file_become_immutable() -> None:
    model = Model.model_validate(
        {"id": "m", "kind": "proxy", "names": ["m", "n"], "largest_size": "64x64", **CITED}
    )

    assert model.names == ("m", "n")
