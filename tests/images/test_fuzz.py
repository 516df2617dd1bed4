"""X3, for a moment: thousands of broken bodies are refused, or mean to others what they mean to us."""

from __future__ import annotations

import random

import pytest

from gateway.images.request import read_generation
from tests.images.fuzz import agrees, one, others_of_json


@pytest.mark.parametrize("reader", ["json", "form"])
def test_no_body_is_taken_that_another_reader_reads_as_more(reader: str) -> None:
    chance = random.Random(3)

    taken = sum(one(reader, chance) for _ in range(3000))

    assert 100 < taken < 2900


def test_a_body_that_others_read_as_more_would_be_noticed() -> None:
    request = read_generation(b'{"model":"m","prompt":"p","n":2}')

    assert not all(agrees(request, other) for other in others_of_json(b'{"n":2,"n":9}'))
    assert not all(agrees(request, other) for other in others_of_json(b'{"n":2,"N":9}'))
