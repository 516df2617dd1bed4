"""The form of `alerts` in a policy file: where owners of budgets want to be told, and how that is signed.

Messages never show a URL, whose path often is a secret too. Refuses to know what is told.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated

from pydantic import AfterValidator, SecretStr

from gateway.budgets.signing import signing_key
from gateway.documents import Secret, Section, absolute_url, written, wrong

_ADDRESS = re.compile(r"https?://[!-~]+")


def _webhook(url: str) -> str:
    """An absolute URL: https, or http on this machine."""
    parts = absolute_url(url, example="https://hooks.example/eco")
    if "#" in url:
        raise wrong("must not have a fragment")
    if parts.scheme == "http" and not _loopback(parts.hostname or ""):
        raise wrong("must begin with https://; http is only for this machine")
    return url


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _signs(secret: SecretStr) -> SecretStr:
    """A secret that Standard Webhooks can sign with; empty only where references are not resolved."""
    if secret.get_secret_value():
        try:
            signing_key(secret.get_secret_value())
        except ValueError as error:
            raise wrong(str(error)) from None
    return secret


class AlertSection(Section):
    """One webhook that is told what happens to a budget."""

    webhook: Annotated[str, AfterValidator(_webhook), written(_ADDRESS)]
    secret: Annotated[Secret, AfterValidator(_signs)]


def once(alerts: list[AlertSection]) -> list[AlertSection]:
    if len({alert.webhook for alert in alerts}) < len(alerts):
        raise wrong("names a webhook twice")
    return alerts
