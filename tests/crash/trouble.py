"""Mixed faults of the stand-in Cordial, a burst every few seconds: what an account goes through in bad weeks."""

import asyncio
import random
from typing import Any

from tests.crash.harness import Harness

_PAUSE_SECONDS = (1.0, 5.0)
_BURST_SECONDS = (0.1, 1.5)
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
    """Make all calls of a moment go wrong, again and again, until cancelled; then let everything pass.

    A burst ends by time, not by number: while an account is paused hardly any calls are made.
    """
    try:
        while True:
            await asyncio.sleep(chance.uniform(*_PAUSE_SECONDS))
            await harness.ask_stand_in("POST", "/sandbox/faults", {**chance.choice(_BURSTS), "times": None})
            await asyncio.sleep(chance.uniform(*_BURST_SECONDS))
            await harness.ask_stand_in("DELETE", "/sandbox/faults")
    finally:
        await harness.ask_stand_in("DELETE", "/sandbox/faults")
