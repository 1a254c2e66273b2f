"""The queue that saq's web front fills and its worker empties; one job puts one user on the list.

Followed from saq's documentation: the queue made from a URL, hiredis installed; the worker run by saq's own command on
`settings`, with an HTTP session that `startup` makes and the context keeps, and the concurrency of the other peers.

Jobs may be tried 3 times, which is kinder than saq's default: after 1 a job that was begun by a worker that died is given
up. Where a kill -9 is measured, stuck jobs are looked for more often, by PEER_SWEEP_SECONDS, to shorten the wait for them.
"""

import os
from typing import Any

from saq import Queue

from benchmarks.peers.programs.aiohttp_calls import add_to_list, ensure_list, make_session
from benchmarks.peers.programs.job import read_settings

MAX_ATTEMPTS = 3
_DEFAULT_SWEEP_SECONDS = 60

_settings = read_settings()
queue = Queue.from_url(_settings.redis_url)


async def add_user(context: dict[str, Any], *, user_id: str) -> None:
    """Carry out a job."""
    await add_to_list(context["session"], _settings, user_id)


async def _startup(context: dict[str, Any]) -> None:
    session = context["session"] = make_session(_settings)
    await ensure_list(session, _settings)


async def _shutdown(context: dict[str, Any]) -> None:
    await context["session"].close()


settings = {
    "queue": queue,
    "functions": [add_user],
    "concurrency": _settings.concurrency,
    "startup": _startup,
    "shutdown": _shutdown,
    "timers": {"sweep": int(os.environ.get("PEER_SWEEP_SECONDS", _DEFAULT_SWEEP_SECONDS))},
}
