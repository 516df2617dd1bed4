from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.auth import credential, outranks
from gateway.errors import ApiError
from gateway.identity.keys import mint
from gateway.identity.subject import Role, Subject

if TYPE_CHECKING:
    from tests.api.eco_side import EcoSide

PATH = "/eco/v1/me"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_key_is_taken_as_a_bearer_token(eco: EcoSide, scheme: str) -> None:
    answer = await eco.http.get(PATH, headers={"authorization": f"{scheme} {eco.keys['ana']}"})

    assert answer.status_code == 200
    assert answer.json()["subject"]["user"] == "ana"


async def test_a_key_is_taken_from_the_header_of_azure_clients(eco: EcoSide) -> None:
    answer = await eco.http.get(PATH, headers={"api-key": eco.keys["ana"]})

    assert answer.json()["subject"]["user"] == "ana"


GARBAGE: list[list[tuple[str, str | bytes]]] = [
    [],
    [("authorization", "")],
    [("authorization", "Bearer")],
    [("authorization", "Bearer ")],
    [("authorization", "Basic dXNlcjpwYXNz")],
    [("authorization", "Bearer " + "x" * 65_536)],
    [("authorization", b"Bearer \xff\xfe\xc3\xa9")],
    [("authorization", "Bearer ' OR 1=1 --")],
    [("authorization", "Bearer {key} {key}")],
    [("authorization", "{key}")],
    [("authorization", "Bearer " + mint())],
    [("api-key", "")],
    [("api-key", b"\x80")],
    [("x-api-key", "{key}")],
    [("cookie", "authorization=Bearer {key}")],
]


async def test_anything_but_a_key_is_unauthenticated(eco: EcoSide) -> None:
    for headers in GARBAGE:
        sent = [
            (name, value if isinstance(value, bytes) else value.replace("{key}", eco.keys["ana"]).encode())
            for name, value in headers
        ]

        answer = await eco.http.get(PATH, headers=[(name.encode(), value) for name, value in sent])

        assert answer.status_code == 401, str(headers)[:60]
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert eco.keys["ana"] not in answer.text


@pytest.mark.parametrize("second", ["authorization", "api-key", "Authorization"])
async def test_two_credentials_are_refused_even_when_both_are_good(eco: EcoSide, second: str) -> None:
    good = f"Bearer {eco.keys['ana']}"
    other = eco.keys["ana"] if second == "api-key" else good

    answer = await eco.http.get(PATH, headers=[("authorization", good), (second, other)])

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "ambiguous_credentials"


@pytest.mark.parametrize("name", ["key", "api_key", "api-key", "access_token", "token"])
async def test_a_key_in_the_url_is_no_credential(eco: EcoSide, name: str) -> None:
    answer = await eco.http.get("/eco/v1/usage", params={name: eco.keys["platform"]})

    assert answer.status_code == 401


async def test_nothing_that_a_client_sends_changes_whom_its_key_speaks_for(eco: EcoSide) -> None:
    claims = {
        "x-user-id": "olga",
        "x-org-id": "globex",
        "ecogate-team": "film",
        "openai-organization": "globex",
    }

    answer = await eco.ask("ana", PATH, headers=claims)

    assert (answer.json()["subject"]["org"], answer.json()["subject"]["user"]) == ("acme", "ana")


@given(st.lists(st.tuples(st.sampled_from([b"authorization", b"api-key", b"Authorization"]), st.binary())))
def test_no_header_makes_the_reader_fail_otherwise_than_it_should(headers: list[tuple[bytes, bytes]]) -> None:
    try:
        token = credential(headers)
    except ApiError as error:
        assert error.status in {400, 401}
    else:
        assert token.isascii()


def test_each_admin_hands_out_its_own_rank_and_those_below() -> None:
    allowed = {
        role: {other for other in Role if outranks(Subject(org="o", key="k", role=role), other)}
        for role in (Role.ORG_ADMIN, Role.PLATFORM_ADMIN)
    }

    assert allowed[Role.PLATFORM_ADMIN] == set(Role)
    assert allowed[Role.ORG_ADMIN] == set(Role) - {Role.PLATFORM_ADMIN}
