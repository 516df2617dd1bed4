"""Reads the files that users write, for a start of the gateway and for `ecogate check` alike.

Knows which file needs what from another: deployments name zones and GPUs of the factors, policies name
deployments. Refuses to know what any of them means, and does not keep them (`reloading` does).
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from gateway.budgets.policy import load_policies, no_policies
from gateway.errors import ConfigError, Problem
from gateway.footprint.factor_files import factor_paths
from gateway.footprint.factors import load_factors
from gateway.footprint.hardware import find_gpu
from gateway.footprint.places import zone_country
from gateway.lifecycle.plan import Configuration
from gateway.routing.signal_file import read_signals
from gateway.upstreams.deployment_file import load_deployments, openai_deployments

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.budgets.policy import PolicySet
    from gateway.footprint.factors import FactorSet
    from gateway.settings import Settings
    from gateway.upstreams.deployments import DeploymentSet


def read_configuration(settings: Settings) -> Configuration:
    """The files that these settings name, as one snapshot. Raises `ConfigError` with every problem."""
    factors = load_factors(factor_paths(settings.factors))
    problems: list[Problem] = []
    deployments: DeploymentSet | None = None
    policies: PolicySet | None = None
    try:
        deployments = _deployments(settings, factors)
    except ConfigError as error:
        problems += error.problems
    try:
        policies = (
            no_policies()
            if settings.policies is None
            else load_policies(
                settings.policies,
                environ=os.environ,
                deployments=deployments.ids() if deployments is not None else None,
            )
        )
    except ConfigError as error:
        problems += error.problems
    if deployments is None or policies is None:
        raise ConfigError(problems)
    return Configuration(policies, deployments, factors, loaded_at=int(time.time()))


def read_deployments(path: Path, factors: FactorSet, environ: Mapping[str, str] | None) -> DeploymentSet:
    """A deployments file and the history of the grid that it names; without `environ` secrets stay empty.

    Raises `ConfigError`: a history that cannot be read is found here, not by the work in the background.
    """
    deployed = load_deployments(
        path,
        environ=environ,
        known_zone=lambda zone: zone_country(zone, factors) is not None,
        known_gpu=lambda gpu: find_gpu(gpu, factors) is not None,
    )
    if deployed.signals.history is not None:
        read_signals(deployed.signals.history)
    return deployed


def _deployments(settings: Settings, factors: FactorSet) -> DeploymentSet:
    if settings.deployments is not None:
        return read_deployments(settings.deployments, factors, os.environ)
    if settings.openai_api_key is not None:
        return openai_deployments(settings.openai_api_key)
    message = "nothing to send to: name a deployments file, or set OPENAI_API_KEY for OpenAI's models"
    raise ConfigError([Problem("--deployments", 1, 1, message)])
