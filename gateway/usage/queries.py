"""Questions about usage, answered from SQL alone.

Every question is asked for a subject and sees only what `Visibility` leaves. Refuses to know the ledger,
budgets and the shape of answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from gateway.errors import InvalidRequest
from gateway.store.tables import journal, requests
from gateway.usage.archive import when
from gateway.usage.filters import conditions, storable
from gateway.usage.pages import Page, StoredRequest, cursor_after, older_than, read_entry, read_request
from gateway.usage.storing import with_record
from gateway.usage.totals import UsageQuestion, UsageRow, read_row, statement
from gateway.usage.visibility import Visibility

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.identity.subject import Subject
    from gateway.store.sql import Database
    from gateway.usage.periods import Period

MAX_ROWS = 10_000


class UsageQueries:
    """Answers about the requests in one database."""

    def __init__(self, database: Database, *, max_rows: int = MAX_ROWS) -> None:
        self._database = database
        self._max_rows = max_rows

    async def usage(self, subject: Subject, question: UsageQuestion) -> list[UsageRow]:
        """Sums per bucket and group, by time and then by group; buckets without requests are left out.

        Without groups, window `total` is always one row. Raises `InvalidRequest` for more than `max_rows`.
        """
        query = statement(question, Visibility.of(subject)).limit(self._max_rows + 1)
        async with self._database.reading() as connection:
            found = (await connection.execute(query)).mappings().all()
        if len(found) > self._max_rows:
            raise InvalidRequest(
                f"more than {self._max_rows} rows: ask for a shorter period, a longer window or fewer groups",
                code="too_many_rows",
            )
        rows = [read_row(row, question) for row in found]
        return sorted(rows, key=lambda row: (row.start_ms, [value or "" for value in row.group.values()]))

    async def page(
        self,
        subject: Subject,
        *,
        limit: int,
        cursor: str | None = None,
        period: Period | None = None,
        filters: Mapping[str, str] | None = None,
    ) -> Page:
        """Up to `limit` requests, newest first; `cursor` is the `next` of the page before."""
        query = with_record().where(*Visibility.of(subject).conditions(), *conditions(filters or {}))
        if period is not None:
            query = query.where(requests.c.at_ms >= period.start_ms, requests.c.at_ms < period.end_ms)
        if cursor is not None:
            query = query.where(older_than(cursor))
        order = (requests.c.at_ms.desc(), requests.c.org.desc(), requests.c.id.desc())
        async with self._database.reading() as connection:
            rows = (await connection.execute(query.order_by(*order).limit(limit + 1))).all()
        found = [read_request(row) for row in rows[:limit]]
        return Page(found, next=cursor_after(found[-1]) if len(rows) > limit else None)

    async def request(self, subject: Subject, request_id: str) -> StoredRequest | None:
        """One request with its journal entries; `None` when there is none that the subject may see."""
        if not storable(request_id):
            return None
        query = with_record().where(*Visibility.of(subject).conditions(), requests.c.id == request_id)
        async with self._database.reading() as connection:
            row = (await connection.execute(query.order_by(requests.c.at_ms.desc()).limit(1))).one_or_none()
            if row is None:
                return None
            entries = sorted(
                await connection.execute(
                    select(journal).where(journal.c.org == row.org, journal.c.request_id == row.id)
                ),
                key=when,
            )
            return read_request(row, tuple(read_entry(entry) for entry in entries))
