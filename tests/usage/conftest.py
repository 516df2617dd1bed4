from __future__ import annotations

from tests.store.databases import database, database_url, postgres, sqlite_database

__all__ = ["database", "database_url", "postgres", "sqlite_database"]
