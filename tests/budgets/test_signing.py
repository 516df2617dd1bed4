"""Signatures of webhooks."""

from __future__ import annotations

import base64

import pytest

from gateway.budgets.signing import signature, signing_key


def test_the_signature_is_that_of_the_specifications_example() -> None:
    made = signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )

    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_without_the_prefix_signs_with_its_own_bytes() -> None:
    assert signing_key("a plain secret") == b"a plain secret"


@pytest.mark.parametrize("size", [23, 65])
def test_a_key_that_is_too_short_or_too_long_is_refused_without_being_shown(size: int) -> None:
    encoded = base64.b64encode(bytes(size)).decode()

    with pytest.raises(ValueError, match="must be whsec_ followed by") as caught:
        signing_key(f"whsec_{encoded}")

    assert encoded not in str(caught.value)


def test_a_key_that_is_no_base64_is_refused() -> None:
    with pytest.raises(ValueError, match="base64"):
        signing_key("whsec_not*base64")
