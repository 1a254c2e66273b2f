"""What the peer with FastAPI keeps: users to be put on the list, in SQLite by way of SQLAlchemy's async engine.

Followed from SQLAlchemy's documentation: `async_sessionmaker` with `expire_on_commit=False`, many rows by one `insert`
with a list of parameters, pragmas set on `connect`. The write-ahead log is kinder than SQLite's default.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Boolean, Column, Integer, MetaData, String, Table, event, insert, select, update
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

_BUSY_SECONDS = 30

_metadata = MetaData()
_members = Table(
    "members",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("page", String, nullable=False, index=True),
    Column("user_id", String, nullable=False),
    Column("sent", Boolean, nullable=False, default=False),
)


class MemberStore:
    """Users by page, and whether each has been sent."""

    def __init__(self, path: str) -> None:
        self._engine = create_async_engine(f"sqlite+aiosqlite:///{path}", connect_args={"timeout": _BUSY_SECONDS})
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)
        event.listen(self._engine.sync_engine, "connect", _use_write_ahead_log)

    async def open(self) -> None:
        """Create the table unless it is there."""
        async with self._engine.begin() as connection:
            await connection.run_sync(_metadata.create_all)

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    async def add(self, page: str, user_ids: Sequence[str]) -> None:
        """Keep the users of a page, durably once this returns."""
        async with self._sessions() as session:
            await session.execute(insert(_members), [{"page": page, "user_id": user_id} for user_id in user_ids])
            await session.commit()

    async def unsent_pages(self) -> list[str]:
        """Return the pages with users that have not been sent."""
        async with self._sessions() as session:
            return list(await session.scalars(select(_members.c.page).where(~_members.c.sent).distinct()))

    async def unsent_users(self, page: str) -> list[tuple[int, str]]:
        """Return row and user for all of a page that have not been sent."""
        async with self._sessions() as session:
            rows = await session.execute(
                select(_members.c.id, _members.c.user_id).where(_members.c.page == page, ~_members.c.sent)
            )
            return [(row.id, row.user_id) for row in rows]

    async def mark_sent(self, rows: Sequence[int]) -> None:
        """Note that the users of these rows have been sent."""
        async with self._sessions() as session:
            await session.execute(update(_members).where(_members.c.id.in_(rows)).values(sent=True))
            await session.commit()


def _use_write_ahead_log(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.close()
