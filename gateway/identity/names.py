"""What orgs, teams, users and labels may be called.

Names become parts of Redis keys, metric labels and file exports, so only plain characters pass, here, before
anything is stored. Refuses to know who may give a name to whom.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_NAME = 64
MAX_LABELS = 16
NAME = re.compile(rf"[A-Za-z0-9._@+-]{{1,{MAX_NAME}}}")
# As in policies, where a budget says label.<name>.
LABEL_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")


def checked_name(value: str, *, param: str) -> str:
    """The name as it is. Raises `InvalidRequest` when it is empty, too long or has another character."""
    if NAME.fullmatch(value) is None:
        raise InvalidRequest(
            f"'{param}' must have 1 to {MAX_NAME} characters out of letters, digits and . _ @ + -",
            code="invalid_name",
            param=param,
        )
    return value


def checked_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels as a dictionary. Raises `InvalidRequest` for a bad name or value, or too many of them."""
    if len(labels) > MAX_LABELS:
        raise InvalidRequest(f"at most {MAX_LABELS} labels", code="too_many_labels", param="labels")
    if not all(LABEL_NAME.fullmatch(name) for name in labels):
        raise InvalidRequest(
            "a label's name must have 1 to 63 characters out of lower-case letters, digits and . _ -",
            code="invalid_name",
            param="labels",
        )
    return {name: checked_name(value, param="labels") for name, value in labels.items()}
