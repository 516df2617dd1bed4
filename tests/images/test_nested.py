"""Parameters inside another one are read as strictly as those beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.images.nested import CARRIERS, INSIDE, inside, unfolded
from gateway.images.request import read_generation
from gateway.images.values import STEP_NAMES

SCALARS = st.none() | st.booleans() | st.integers(-5, 2000) | st.floats(allow_nan=False) | st.text(max_size=5)
NAMES = st.sampled_from(
    [*sorted(INSIDE), "n", "size", "Steps", "timesteps", "num_images_per_prompt", "height"]
)


def refused(fields: dict[str, Any]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as error:
        unfolded(fields)
    return error.value


@pytest.mark.parametrize(
    "written",
    [
        '{"steps": 1, "steps": 99}', '{"steps": NaN}', '{"guidance_scale": Infinity}', '{"steps": 1} {}',
        "[1]", "4", "", "{", '\ufeff{"steps": 1}', '{"steps": 1, "sample_params": {"sample_steps": 99}}',
    ],
)  # fmt: skip
def test_a_text_on_which_readers_could_disagree_is_refused(written: str) -> None:
    assert refused({"kwargs": written}).param == "kwargs"


@pytest.mark.parametrize("value", [{"steps": 1}, 4, [1], True])
def test_kwargs_is_a_text(value: object) -> None:
    assert refused({"kwargs": value}).code == "invalid_type"


@pytest.mark.parametrize("carrier", ["extra_params", "diffusers_kwargs"])
@pytest.mark.parametrize("value", ['{"steps": 1}', 4, [1], True])
def test_the_others_are_objects(carrier: str, value: object) -> None:
    assert (refused({carrier: value}).code, refused({carrier: value}).param) == ("invalid_type", carrier)


def test_only_one_parameter_may_hold_others() -> None:
    assert refused({"extra_params": {}, "diffusers_kwargs": {}}).param == "diffusers_kwargs"
    assert inside({"kwargs": None, "extra_params": {"seed": 1}}) == {"seed": 1}


def test_a_parameter_has_one_value() -> None:
    assert unfolded({"seed": 1, "extra_params": {"seed": 1}})["seed"] == 1
    assert refused({"seed": 1, "extra_params": {"seed": 2}}).param == "seed"
    assert refused({"steps": True, "extra_params": {"steps": 1}}).param == "steps"
    assert unfolded({"seed": 1, "extra_params": {"seed": None}})["seed"] == 1


@given(
    st.sampled_from(CARRIERS),
    st.dictionaries(NAMES, SCALARS, max_size=4),
    st.dictionaries(st.sampled_from(STEP_NAMES), SCALARS, max_size=2),
)
def test_what_is_accepted_has_known_names_and_the_one_number_of_steps_that_is_anywhere(
    carrier: str, found: dict[str, Any], beside: dict[str, Any]
) -> None:
    holds = json.dumps(found) if carrier == "kwargs" else found
    try:
        request = read_generation(
            json.dumps({"model": "m", "prompt": "p", carrier: holds, **beside}).encode()
        )
    except InvalidRequest:
        return

    assert found.keys() <= INSIDE
    everywhere = {
        value
        for given in (found, beside)
        for name, value in given.items()
        if name in STEP_NAMES and value is not None
    }
    assert everywhere == ({request.steps} if request.steps is not None else set())
    assert request.guidance_passes == (2 if (found.get("true_cfg_scale") or 0) > 1 else None)
