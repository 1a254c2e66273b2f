"""The stand-in Cordial in its own process, without limits of its own."""

import contextlib
from collections.abc import AsyncIterator

from benchmarks.processes import first_line, running

_ARGUMENTS = ("sandbox", "--port", "0", "--rate", "0")


@contextlib.asynccontextmanager
async def running_stand_in(latency_ms: float = 0) -> AsyncIterator[str]:
    """Run it while the block lasts; yield its URL. `latency_ms` is how long each call takes at least."""
    async with running("service", [*_ARGUMENTS, "--latency-ms", str(latency_ms)]) as process:
        yield (await first_line(process)).split()[-1].rstrip("/")
