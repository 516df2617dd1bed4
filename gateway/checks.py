"""Every mistake in the files that users write, without network, environment or a running gateway.

Reads what `ecogate serve` would read and reports instead of starting. Files are judged one by one: a mistake
in one never hides those in another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.budgets.policy import load_policies
from gateway.errors import ConfigError, Problem
from gateway.upstreams.deployment_file import load_deployments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def check(
    policies: Path | None,
    deployments: Path | None,
    *,
    environ: Mapping[str, str] | None = None,
    known_zone: Callable[[str], bool] | None = None,
    known_gpu: Callable[[str], bool] | None = None,
) -> list[Problem]:
    """The problems of a policies folder and a deployments file, in that order; empty when all is well.

    A path that is None is not read. Without `environ`, references to secrets are checked for form only.
    """
    problems: list[Problem] = []
    if policies is not None:
        try:
            load_policies(policies)
        except ConfigError as error:
            problems += error.problems
    if deployments is not None:
        try:
            load_deployments(deployments, environ=environ, known_zone=known_zone, known_gpu=known_gpu)
        except ConfigError as error:
            problems += error.problems
    return problems
