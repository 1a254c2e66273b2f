"""An event loop whose clock stands still while anything runs, and jumps to the next timer when nothing does."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class _VirtualTimeLoop(asyncio.SelectorEventLoop):
    _now = 1_000.0
    # The base class's own; typeshed does not know them.
    _ready: Any
    _scheduled: Any

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        if not self._ready:
            if not self._scheduled:
                # Nothing comes from outside here. Waiting for ever would only show that to whoever looks at the clock.
                raise RuntimeError("every task waits, and nothing is left that could wake one")
            self._now = max(self._now, self._scheduled[0].when())
        super()._run_once()  # type: ignore[misc]


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end in as much virtual and as little real time as it takes."""
    with asyncio.Runner(loop_factory=_VirtualTimeLoop) as runner:
        return runner.run(main)


def now() -> float:
    return asyncio.get_running_loop().time()
