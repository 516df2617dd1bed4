"""What of a request can be made lighter."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.images.lighter import changes
from gateway.images.request import read_generation

BLOCK = '<sd_cpp_extra_args>{"sample_params":{"sample_steps":99}}</sd_cpp_extra_args>'


@pytest.mark.parametrize(
    ("fields", "fixed"),
    [
        ({"steps": 9, "size": "64x64"}, set()),
        ({"kwargs": '{"steps": 9}'}, {"steps"}),
        ({"kwargs": '{"seed": 9}', "steps": 9}, set()),
        ({"prompt": f"a cat {BLOCK}", "steps": 99}, {"steps"}),
        ({"resolution": "2k"}, {"size"}),
        ({"aspect_ratio": "16:9", "extra_params": {"step": 9}}, {"size", "steps"}),
    ],
)
def test_what_is_said_in_another_place_or_by_class_stays_as_it_is(
    fields: dict[str, Any], fixed: set[str]
) -> None:
    request = read_generation(json.dumps({"model": "m", "prompt": "a cat"} | fields).encode())
    lighter: dict[str, str | int] = {"n": 1, "quality": "low", "size": "64x64", "steps": 4}

    assert {name for name, value in lighter.items() if not changes(request, {name: value})} == fixed
