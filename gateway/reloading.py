"""The configuration in force, read again when its files change.

A change is taken as a whole or not at all: one mistake keeps everything that was in force, and says so. Files
are looked at several times a second instead of being subscribed to, because that sees every way in which they
are replaced: editors that rename, mounted config maps, whole folders that are exchanged, network mounts.
Refuses to know what the files mean.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.budgets.changes import restarts
from gateway.errors import ConfigError, LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from gateway.budgets.editions import Editions
    from gateway.budgets.raises import Raised
    from gateway.errors import Problem
    from gateway.lifecycle.plan import Configuration
    from gateway.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.25
"""Two looks must agree, so that a file is not read while it is written: changes count within a second."""

Sign = tuple[str, int, int, int]
"""A file as the file system shows it: path, inode, size and time of change."""


class Reloading:
    """The snapshot in force. Whoever needs it asks once and keeps what it got."""

    def __init__(
        self, first: Configuration, *, read: Callable[[], Configuration], paths: Sequence[Path]
    ) -> None:
        """`read` raises ConfigError with every mistake; `paths` are the files and folders that it reads."""
        self.current = first
        self.rejected: tuple[Problem, ...] = ()
        self._read = read
        self._paths = tuple(paths)
        self._seen = self._signs()

    async def watch(self, metrics: Metrics, editions: Editions) -> None:
        """Runs for ever: takes what changed as soon as it has stopped changing.

        Changed policies are announced before they are in force here.
        """
        before = self._seen
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now = await asyncio.to_thread(self._signs)
            if now == before != self._seen:
                self._seen = now
                await self._take(metrics, editions)
            before = now

    def raised(self, raised: Raised) -> None:
        """Other raises are in force; they outlive a change of the files."""
        self.current = replace(self.current, policies=replace(self.current.policies, raised=raised))

    def report(self) -> dict[str, Any]:
        """What is in force and whether newer files are refused; places only, since anyone may read it."""
        return {
            "loaded_at": self.current.loaded_at,
            "rejected": [f"{one.file}:{one.line}:{one.column}" for one in self.rejected],
        }

    def numbered(self, version: str, number: int) -> None:
        """The budget store gave the policies of this version their number."""
        if self.current.policies.version == version and self.current.policies.number != number:
            self.current = replace(self.current, policies=replace(self.current.policies, number=number))

    async def _take(self, metrics: Metrics, editions: Editions) -> None:
        try:
            found = await asyncio.to_thread(self._read)
            self.rejected = ()
        except ConfigError as error:
            found = self.current
            self.rejected = tuple(error.problems)
        metrics.configuration_read(taken=not self.rejected)
        for problem in self.rejected:
            logger.error("the configuration in force is kept: %s", problem)
        if _versions(found) != _versions(self.current):
            number = self.current.policies.number
            if found.policies.version != self.current.policies.version:
                number = await _announced(editions, found.policies.version)
            for restart in restarts(self.current.policies, found.policies, datetime.now(UTC)):
                logger.warning("changed policies: %s", restart)
            policies = replace(found.policies, raised=self.current.policies.raised, number=number)
            self.current = replace(found, policies=policies)
            logger.info("policies %s, deployments %s and factors %s are in force", *_versions(found))

    def _signs(self) -> frozenset[Sign]:
        return frozenset(sign for path in self._paths for sign in _signs(path))


async def _announced(editions: Editions, version: str) -> int:
    """The number of a version that was just written; 0 while the store cannot be asked: it admits nothing."""
    try:
        return await editions.announce(version, changed=True)
    except LedgerUnavailable as error:
        logger.warning("changed policies are announced later: %s", error)
        return 0


def _versions(configuration: Configuration) -> tuple[str, str, str]:
    return (
        configuration.policies.version,
        configuration.deployments.version,
        configuration.factors.version,
    )


def _signs(path: Path) -> Iterator[Sign]:
    """The file, or the files of the folder; what vanishes meanwhile is not there."""
    try:
        for file in [path, *path.iterdir()] if path.is_dir() else [path]:
            found = file.stat()
            yield str(file), found.st_ino, found.st_size, max(found.st_mtime_ns, found.st_ctime_ns)
    except OSError:
        return
