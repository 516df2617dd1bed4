import io

import pytest
from PIL import Image

from gateway.demo.drawing import Format, draw


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize(("width", "height"), [(64, 64), (1024, 512), (48, 96)])
def test_a_picture_has_the_size_and_the_format_asked_for(
    width: int, height: int, image_format: Format
) -> None:
    encoded = draw("a red fox", 0, width=width, height=height, label="SE", image_format=image_format)

    with Image.open(io.BytesIO(encoded)) as picture:
        picture.load()
        assert (width, height) == picture.size
        assert image_format.upper() == picture.format


def test_the_same_prompt_draws_the_same_picture_and_another_index_another_one() -> None:
    first = draw("a red fox", 0, width=64, height=64, label="SE")

    assert first == draw("a red fox", 0, width=64, height=64, label="SE")
    assert first != draw("a red fox", 1, width=64, height=64, label="SE")
    assert first != draw("a blue fox", 0, width=64, height=64, label="SE")


def test_the_label_is_drawn_into_the_picture() -> None:
    assert draw("a red fox", 0, width=256, height=256, label="SE") != draw(
        "a red fox", 0, width=256, height=256, label="FR"
    )


def test_a_prompt_with_a_lone_surrogate_still_draws() -> None:
    assert draw("\ud800", 0, width=16, height=16, label="SE")
