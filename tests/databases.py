"""The databases of the project, as a test sees them: through their own connection."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock


class Refusing(sqlite3.Connection):
    """
    A connection whose disk has no room for some statements.

    @ivar refused: the beginnings of these statements.
    """

    refused: tuple[str, ...] = ()

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if self.refused and sql.startswith(self.refused):
            raise sqlite3.OperationalError("database or disk is full")
        return super().execute(sql, *parameters)


class Database:
    """
    Connects to databases as C{sqlite3.connect} does, and keeps the newest connection.

    A database has one connection, which locks it: a test can look into an open database only
    through this one.

    @ivar connection: the newest.
    """

    connection: Refusing

    def __call__(self, path: Any, **options: Any) -> sqlite3.Connection:
        self.connection = sqlite3.connect(path, factory=Refusing, **options)
        return self.connection

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows that a query finds."""
        return self.connection.execute(query).fetchall()

    def value(self, query: str) -> Any:
        """The only value that a query finds."""
        ((value,),) = self.rows(query)
        return value

    @contextmanager
    def full(self, pages: int = 0) -> Iterator[None]:
        """
        Keep the database and the other files of its owner from growing, as on a full disk.

        @param pages: that the database can still grow by.
        """
        most = self.value("PRAGMA page_count") + pages
        before = self.value("PRAGMA max_page_count")
        self.connection.execute(f"PRAGMA max_page_count = {most}")
        noSpace = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        try:
            with mock.patch("os.posix_fallocate", side_effect=noSpace):
                yield
        finally:
            self.connection.execute(f"PRAGMA max_page_count = {before}")
