"""The baseline of draining: nothing but aiohttp's client, sending the calls that the service would send.

Its own process; prints a `Drained` as JSON.
"""

import argparse
import asyncio
import time

import aiohttp
import msgspec
from yarl import URL

from service.sandbox.options import DEFAULT_API_KEY

_WARM_UP_CALLS = 500
_encode = msgspec.json.Encoder().encode


class Drained(msgspec.Struct, frozen=True):
    """How fast calls were made, and what each cost its process in time on a core, whatever else the machine did."""

    calls_per_second: float
    cpu_microseconds_per_call: float


async def send_all(base_url: str, list_name: str, users: list[str], concurrency: int) -> Drained:
    """Put the users on the list, so many at a time."""
    authorization = aiohttp.encode_basic_auth(DEFAULT_API_KEY, "")
    headers = {"Authorization": authorization, "Content-Type": "application/json"}
    url = URL(f"{base_url}/v2/contacts")
    remaining = iter(users)

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar(), headers=headers
    ) as session:

        async def work() -> None:
            for user in remaining:
                body = {"channels": {"email": {"address": user}}, list_name: True, "suppressTriggers": True}
                async with session.post(url, data=_encode(body)) as response:
                    answer = await response.read()
                    if response.status >= 300:
                        raise RuntimeError(f"HTTP {response.status}: {answer.decode()}")

        async with session.post(f"{base_url}/v2/accountlists", json={"name": list_name, "enhanced": True}) as response:
            response.raise_for_status()
        started, cpu_started = time.perf_counter(), time.process_time()
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        return Drained(len(users) / seconds, cpu_seconds * 1e6 / len(users))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--list", required=True)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    options = parser.parse_args()

    async def run() -> Drained:
        warm_up = [f"warm-up-{number}@{options.list}.example.com" for number in range(_WARM_UP_CALLS)]
        await send_all(options.url, f"{options.list}WarmUp", warm_up, options.concurrency)
        users = [f"user-{number}@{options.list}.example.com" for number in range(options.calls)]
        return await send_all(options.url, options.list, users, options.concurrency)

    print(msgspec.json.encode(asyncio.run(run())).decode())


if __name__ == "__main__":
    main()
