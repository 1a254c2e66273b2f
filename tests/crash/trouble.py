"""Mixed faults of the stand-in Cordial, a burst every few seconds: what an account goes through in bad weeks."""

import asyncio
import random
from typing import Any

from tests.crash.harness import Harness

_PAUSE_SECONDS = (0.5, 4.0)
_MOST_CALLS = 30
_BURSTS: tuple[dict[str, Any], ...] = (
    {"kind": "answer", "status": 500},
    {"kind": "answer", "status": 503},
    {"kind": "answer", "status": 429, "headers": {"Retry-After": "1"}},
    {"kind": "answer", "status": 401},
    {"kind": "html", "status": 502},
    {"kind": "reset"},
    {"kind": "apply_then_reset"},
    # Shorter than the pause after a kill, so that no call of a process killed is still held when the next one calls.
    {"kind": "hang", "seconds": 0.2},
)


async def make_trouble(harness: Harness, chance: random.Random) -> None:
    """Make a burst of calls go wrong, again and again, until cancelled; then let everything pass."""
    try:
        while True:
            await asyncio.sleep(chance.uniform(*_PAUSE_SECONDS))
            burst = {**chance.choice(_BURSTS), "times": chance.randint(1, _MOST_CALLS)}
            await harness.ask_stand_in("POST", "/sandbox/faults", burst)
    finally:
        await harness.ask_stand_in("DELETE", "/sandbox/faults")
