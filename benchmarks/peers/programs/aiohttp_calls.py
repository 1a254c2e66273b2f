"""The calls to Cordial with aiohttp's client, for the peers that use it: one session for all calls, as its docs advise."""

import aiohttp

from benchmarks.peers.programs.job import JobSettings, membership_of


def make_session(settings: JobSettings) -> aiohttp.ClientSession:
    """Return the session that all calls of a process share; as many connections as calls may be under way."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=settings.concurrency), headers=settings.headers)


async def ensure_list(session: aiohttp.ClientSession, settings: JobSettings) -> None:
    """Create the list unless there is one of that name."""
    url = f"{settings.cordial_url}/v2/accountlists"
    async with session.get(url, params={"name": settings.list_name}) as response:
        if response.status == 200:
            return
    async with session.post(url, json={"name": settings.list_name, "enhanced": True}) as response:
        response.raise_for_status()


async def add_to_list(session: aiohttp.ClientSession, settings: JobSettings, user_id: str) -> None:
    """Put a user on the list. Raises `aiohttp.ClientError` if that fails."""
    url = f"{settings.cordial_url}/v2/contacts"
    async with session.post(url, json=membership_of(settings.list_name, user_id)) as response:
        response.raise_for_status()
        await response.read()
