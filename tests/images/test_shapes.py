"""Sizes by class and shape."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.images.request import MAX_EDGE_PX
from gateway.images.shapes import CLASSES, EDGES_PX, SHAPES, read_shape


@given(st.sampled_from(sorted(CLASSES)), st.sampled_from(sorted(SHAPES)))
def test_a_class_has_the_area_of_its_square_in_every_shape(resolution: str, shape: str) -> None:
    pixels = read_shape({"resolution": resolution, "aspect_ratio": shape})

    assert pixels is not None
    assert pixels[0] * pixels[1] == pytest.approx(EDGES_PX[resolution.upper()] ** 2, rel=0.003)
    wide, high = SHAPES[shape]
    assert pixels[0] / pixels[1] == pytest.approx(wide / high, rel=0.01)
    assert max(pixels) <= MAX_EDGE_PX


def test_without_a_class_nobody_says_how_many_pixels() -> None:
    assert read_shape({}) is None
    assert read_shape({"aspect_ratio": "16:9"}) is None
    assert read_shape({"resolution": None, "aspect_ratio": "auto"}) is None
    assert read_shape({"resolution": "1k", "aspect_ratio": "auto"}) == (1024, 1024)


@given(st.text(max_size=6), st.sampled_from(["aspect_ratio", "resolution"]))
def test_a_name_in_no_table_is_refused(name: str, field: str) -> None:
    if name in {*CLASSES, *SHAPES, "auto"}:
        return
    with pytest.raises(InvalidRequest) as error:
        read_shape({field: name})

    assert error.value.param == field


@pytest.mark.parametrize("value", [1, 2.0, ["1k"], {"1k": 1}, True])
def test_a_class_is_a_name(value: object) -> None:
    with pytest.raises(InvalidRequest):
        read_shape({"resolution": value})
