"""Every mistake in the files that users write, without network, environment or a running gateway.

Reads what `ecogate serve` would read and reports instead of starting. Files are judged one by one: a mistake
in one never hides those in another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.budgets.changes import restarts
from gateway.budgets.policy import load_policies
from gateway.configuration import read_deployments
from gateway.errors import ConfigError, Problem
from gateway.footprint.factor_files import factor_paths
from gateway.footprint.factors import check_factors, load_factors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from gateway.budgets.changes import Restart
    from gateway.upstreams.deployments import DeploymentSet


def check(
    policies: Path | None,
    deployments: Path | None,
    factors: Path | None = None,
    *,
    year: int,
    environ: Mapping[str, str] | None = None,
) -> list[Problem]:
    """The problems of factors, a policies folder and a deployments file, in that order.

    A path that is None is not read; `factors` are an operator's, over the bundled ones. `year` is the year by
    which factors are old. Without `environ`, references to secrets are checked for form only.
    """
    known = load_factors()
    problems: list[Problem] = []
    try:
        known = load_factors(factor_paths(factors))
    except ConfigError as error:
        problems += error.problems
    problems += check_factors(known, year=year)
    found: DeploymentSet | None = None
    last: list[Problem] = []
    if deployments is not None:
        try:
            found = read_deployments(deployments, known, environ)
        except ConfigError as error:
            last = error.problems
    if policies is not None:
        ids = found.ids() if found is not None else None
        try:
            load_policies(policies, environ=environ, deployments=ids)
        except ConfigError as error:
            problems += error.problems
    return problems + last


def restarting(before: Path, after: Path, now: datetime) -> list[Restart]:
    """What starts at zero if the policies of one folder replace those of another at `now`.

    Raises ConfigError with every mistake of either.
    """
    return restarts(load_policies(before), load_policies(after), now)
