"""Call number n of the store's port or of Cordial's client fails: with an error, a cancellation, or its answer lost.

Or number n of the transactions beneath the port does, because too many wait to be written: there, each commit is a step.
"""

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from service.deliver.cordial.answers import no_answer
from service.deliver.cordial.client import CordialClient
from service.errors import StoreUnavailableError
from service.store.sqlite.store import SqliteStore

# `error`: it is not carried out. `lost`: it is carried out, and told as if it were not. `cancel`: whoever waits for it is
# cancelled, before it is carried out; `cancel_late`: after. `full`: transaction number n finds the writer's queue full;
# `full_long`: so do those that follow it.
KINDS = ("error", "lost", "cancel", "cancel_late", "full", "full_long")
_FULL_TRANSACTIONS = 8
_NO_CALLS = {"close"}
# Beneath the port, or no part of it.
_NO_PARTS = {"Connection", "Retention", "Writer"}


class Injector:
    """Counts the calls, and lets one of them fail."""

    def __init__(self, number: int, kind: str) -> None:
        self._number = number
        self._kind = kind
        self.calls = 0
        self.is_on = True
        # What failed, once something has.
        self.failed = ""

    def install(self) -> None:
        """Put this between the service and its store, and between the service and Cordial."""
        opened = SqliteStore.open.__func__  # type: ignore[attr-defined]

        async def open_and_wrap(*arguments: Any, **options: Any) -> SqliteStore:
            store: SqliteStore = await opened(*arguments, **options)
            self._wrap(store)
            for part in list(vars(store).values()):
                if type(part).__module__.startswith("service.store.sqlite."):
                    self._wrap(part)
            self._wrap_writer(store._writer)
            return store

        SqliteStore.open = classmethod(open_and_wrap)  # type: ignore[method-assign, assignment]
        send = CordialClient.send

        async def send_or_fail(client: CordialClient, *arguments: Any, **options: Any) -> Any:
            return await self._call(
                f"CordialClient.send {arguments[0].operation}",
                functools.partial(send, client, *arguments, **options),
                lambda: no_answer("timeout", "planted"),
            )

        CordialClient.send = send_or_fail  # type: ignore[method-assign, assignment]

    def _wrap(self, part: Any) -> None:
        for name, method in inspect.getmembers(part, inspect.iscoroutinefunction):
            if not name.startswith("_") and name not in _NO_CALLS and type(part).__name__ not in _NO_PARTS:
                setattr(part, name, self._wrapped(f"{type(part).__name__}.{name}", method))

    def _wrap_writer(self, writer: Any) -> None:
        run = writer.run

        async def run_or_refuse(work: Callable[..., Any], **options: Any) -> Any:
            if self.is_on and self._kind.startswith("full"):
                self.calls += 1
                last = self._number + (_FULL_TRANSACTIONS if self._kind == "full_long" else 1)
                if self._number <= self.calls < last:
                    self.failed = self.failed or _name_of(work)
                    raise StoreUnavailableError("too much is waiting to be written")
            return await run(work, **options)

        writer.run = run_or_refuse

    def _wrapped(self, name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any, **options: Any) -> Any:
            return await self._call(name, functools.partial(method, *arguments, **options), _refuse)

        return call

    async def _call(self, name: str, method: Callable[[], Awaitable[Any]], refuse: Callable[[], Any]) -> Any:
        if not self.is_on or self._kind.startswith("full"):
            return await method()
        self.calls += 1
        if self.calls != self._number:
            return await method()
        self.failed = name
        if self._kind in {"lost", "cancel_late"}:
            await method()
        if self._kind.startswith("cancel"):
            raise asyncio.CancelledError
        return refuse()


def _name_of(work: Callable[..., Any]) -> str:
    return f"{work.__module__}.{work.__qualname__}"


def _refuse() -> Any:
    raise StoreUnavailableError("planted")


def scenario(number: int, kind: str) -> dict[str, Any]:
    """Return a plan in which everything happens that the service can do, and one call fails."""
    users = [f"user{each}@example.com" for each in range(7)]

    def page(at_ms: int, segment: int, task: int, add: list[str], remove: list[str], *, renamed: bool = False) -> Any:
        return {
            "at_ms": at_ms,
            "kind": "page",
            "account": "acme",
            "segment": segment,
            "task": task,
            "page": 1,
            "add": add,
            "remove": remove,
            "renamed": renamed,
            "late_ms": 0,
        }

    place = {"account": "acme", "segment": 1}
    return {
        "seed": 1,
        "shuffles": False,
        "accounts": {
            "acme": {
                "requests_per_second": 50,
                "max_concurrency": 4,
                "request_timeout_seconds": 2,
                "allow_drain": True,
                "on_segment_rename": "rename",
                "hold_new_segments": False,
                "imports": True,
            }
        },
        "latency_ms": 5,
        "settle_interval_seconds": 0.1,
        "inject": {"number": number, "kind": kind},
        "events": [
            page(0, 1, 1, users, []),
            page(10, 2, 2, users[:2], users[2:3]),
            {"at_ms": 6_000, "kind": "reload", "account": "acme", "change": {"requests_per_second": 40}},
            page(6_000, 2, 3, users[2:3], users[:1], renamed=True),
            {"at_ms": 8_000, "kind": "forget", "user": users[1]},
            {"at_ms": 9_000, "kind": "pause", "account": "acme", "seconds": 1},
            page(9_500, 1, 4, [], users[3:5]),
            {"at_ms": 11_000, "kind": "rebuild", **place, "include_removed": True},
            {"at_ms": 14_000, "kind": "stop", "down_seconds": 0.1},
            {"at_ms": 15_000, "kind": "drain", "account": "acme", "segment": 2},
            page(15_010, 3, 5, users[4:], []),
            {"at_ms": 18_000, "kind": "verify", **place},
        ],
    }
