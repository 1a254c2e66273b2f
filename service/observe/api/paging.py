"""Pages by key: each begins after the last row of the one before, so that rows that come and go shift nothing.

Only those of a sorted list begin after a number of rows.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from msgspec import UNSET

from service.observe.api.requests import FailureSearch, PageQuery, UnusableSearch, given_filters

_HEXADECIMAL = 16


class Row(Protocol):
    """Anything with an id to go on after."""

    @property
    def id(self) -> int:
        """What the next page goes on after."""


Item = TypeVar("Item", bound=Row)


async def read_page(
    read: Callable[..., Awaitable[list[Item]]], query: PageQuery | FailureSearch | UnusableSearch
) -> tuple[list[Item], str | None]:
    """Return the rows that a query asks for, and the `after` of the next page, None on the last.

    `read` takes the query's filters, `after` (an id) and `limit`.
    """
    after = None if query.after is UNSET else int(query.after, _HEXADECIMAL)
    rows = await read(**{**given_filters(query), "after": after, "limit": query.limit + 1})
    items = rows[: query.limit]
    return items, f"{items[-1].id:x}" if len(rows) > len(items) else None


async def read_sorted(
    read: Callable[..., Awaitable[list[Item]]], query: PageQuery | FailureSearch, **order: object
) -> tuple[list[Item], str | None]:
    """Return the rows that a query asks for in some order, and the `after` of the next page: how many rows come before it.

    `read` takes the query's filters, `order`, `offset` and `limit`.
    """
    offset = 0 if query.after is UNSET else int(query.after, _HEXADECIMAL)
    filters = {name: value for name, value in given_filters(query).items() if name != "after"}
    rows = await read(**{**filters, **order, "offset": offset, "limit": query.limit + 1})
    return rows[: query.limit], f"{offset + query.limit:x}" if len(rows) > query.limit else None
