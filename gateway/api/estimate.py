"""`POST /eco/v1/estimate`: the same body as a real request, answered with its price and its verdict.

Its members show which kind of request it is: `messages` a chat, `input` a response, `images` an edit, else a
generation.
"""

from typing import Annotated, Any

from litestar import Request, post
from litestar.params import QueryParameter

from gateway.api.bodies import read_json
from gateway.api.openapi import EstimateOperation, errors
from gateway.api.parts import Part
from gateway.conversations.any_body import read_any
from gateway.errors import InvalidRequest, NotAllowed, NotFound
from gateway.identity.names import checked_labels, checked_name
from gateway.identity.registry import KeyRegistry
from gateway.identity.subject import Role, Subject
from gateway.lifecycle.dry_run import dry_run
from gateway.lifecycle.serve import Images
from gateway.usage.visibility import Visibility


@post(
    "/estimate",
    status_code=200,
    tags=["eco"],
    summary="Estimate a request",
    operation_class=EstimateOperation,
    responses=errors(400, 401, 403, 404, 408, 413, 415, 503),
)
async def estimate(  # noqa: PLR0917 - the framework names them
    request: Request[Any, Any, Any],
    subject: Part[Subject],
    images: Part[Images],
    keys: Part[KeyRegistry],
    explain: Annotated[bool, QueryParameter(description="Show every step, factor and source")] = False,
    key: Annotated[str | None, QueryParameter(description="Id of the key that would ask, for admins")] = None,
    org: Annotated[str | None, QueryParameter(description="Whose request, for admins")] = None,
    team: Annotated[str | None, QueryParameter(description="Whose request, for admins")] = None,
    user: Annotated[str | None, QueryParameter(description="Whose request, for admins")] = None,
    label: Annotated[list[str] | None, QueryParameter(description="As name=value, for admins")] = None,
) -> dict[str, Any]:
    """What this body would cost, where it would go and whether budgets would admit it; nothing is sent."""
    asking = subject
    if key is not None:
        asking = await _holder(keys, subject, key)
    elif (org, team, user, label) != (None, None, None, None):
        asking = _described(subject, org, team, user, label or [])
    body = read_any(await read_json(request, max_bytes=images.max_edit_json_bytes))
    return await dry_run(images, asking, body, explain=explain, viewer=subject)


async def _holder(keys: KeyRegistry, caller: Subject, key_id: str) -> Subject:
    """Who has a key that the caller may ask about: its own, or one of those whose requests it sees."""
    if key_id == caller.key:
        return caller
    visible = _visible_to_admin(caller)
    entry = await keys.entry(key_id, org=visible.org)
    if entry is None or entry.subject not in visible:
        raise NotFound("There is no such key.", code="key_not_found", param="key")
    return entry.subject


def _described(
    caller: Subject, org: str | None, team: str | None, user: str | None, label: list[str]
) -> Subject:
    """Somebody whom an admin describes; what is left open has no value, but for the admin's own org."""
    pairs = [one.partition("=") for one in label]
    if not all(separator for _, separator, _ in pairs):
        raise InvalidRequest("A label is name=value.", code="invalid_value", param="label")
    labels = checked_labels({name: value for name, _, value in pairs})
    described = Subject(
        org=checked_name(org or caller.org, param="org"),
        key="",
        role=Role.MEMBER,
        team=checked_name(team, param="team") if team is not None else None,
        user=checked_name(user, param="user") if user is not None else None,
        labels=labels,
    )
    if described not in _visible_to_admin(caller):
        raise NotAllowed("Your key's role may not ask for them.")
    return described


def _visible_to_admin(caller: Subject) -> Visibility:
    if caller.role not in {Role.PLATFORM_ADMIN, Role.ORG_ADMIN, Role.TEAM_ADMIN}:
        raise NotAllowed("Your key's role may only ask for itself.")
    return Visibility.of(caller)
