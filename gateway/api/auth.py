"""Who asks: the API key of a request becomes a subject, and roles open doors.

A key comes in one header, `Authorization: Bearer ...` or `api-key`, never in a URL. Nothing else that a
client sends has a say in whose budget is used. Refuses to know how keys are stored.
"""

from collections.abc import Iterable
from typing import Any

from litestar import Request

from gateway.api.parts import Part
from gateway.errors import InvalidRequest, NotAllowed, NotAuthenticated
from gateway.identity.registry import CHALLENGE, KeyRegistry
from gateway.identity.subject import Role, Subject

CREDENTIAL_HEADERS = (b"authorization", b"api-key")
LONGEST_HEADER = 4096
ADMINS = (Role.PLATFORM_ADMIN, Role.ORG_ADMIN)
RANKS = {Role.SERVICE: 0, Role.MEMBER: 0, Role.TEAM_ADMIN: 1, Role.ORG_ADMIN: 2, Role.PLATFORM_ADMIN: 3}


async def provide_subject(request: Request[Any, Any, Any], keys: Part[KeyRegistry]) -> Subject:
    """The holder of the request's key. Raises `NotAuthenticated`, or `InvalidRequest` for two credentials."""
    return await keys.authenticate(credential(request.scope["headers"]))


async def provide_administrator(subject: Part[Subject]) -> Subject:
    """The caller, who may manage keys. Raises `NotAllowed`."""
    if subject.role not in ADMINS:
        raise NotAllowed("Your key's role may not do this.")
    return subject


def credential(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The key that the raw headers carry, whatever it is worth."""
    found = [(name.lower(), value) for name, value in headers if name.lower() in CREDENTIAL_HEADERS]
    if not found:
        raise NotAuthenticated(
            "No API key provided: send it as 'Authorization: Bearer <key>'.", headers=dict(CHALLENGE)
        )
    if len(found) > 1:
        raise InvalidRequest("Send one API key in one header.", code="ambiguous_credentials")
    [(name, value)] = found
    # A key is short ASCII; anything else gets the answer of a wrong key without being looked at further.
    text = value.decode("ascii") if len(value) <= LONGEST_HEADER and value.isascii() else ""
    if name == b"api-key":
        return text
    scheme, _, token = text.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def outranks(subject: Subject, role: Role) -> bool:
    """Whether a subject may hand out or take back keys of a role: its own rank and those below."""
    return RANKS[subject.role] >= RANKS[role]
