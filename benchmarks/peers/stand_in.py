"""What the stand-in Cordial has seen of a contender."""

from typing import NamedTuple

import aiohttp


class Progress(NamedTuple):
    """Who is on the list, calls carried out for contacts, and calls of all kinds."""

    members: int
    contact_calls: int
    calls: int


class StandIn:
    """A running stand-in, asked about one list."""

    def __init__(self, session: aiohttp.ClientSession, url: str, list_name: str) -> None:
        self._session = session
        self._url = url
        self._list_name = list_name

    async def progress(self) -> Progress:
        """Return the counts now."""
        async with self._session.get(f"{self._url}/sandbox/state") as response:
            state = await response.json()
        members = next((found["count"] for found in state["lists"] if found["name"] == self._list_name), 0)
        # Whether it creates the contact or finds it, the call for a contact is the one answered 201.
        return Progress(members, state["calls_by_status"].get("201", 0), state["calls"])

    async def members(self) -> set[str]:
        """Return who is on the list."""
        url = f"{self._url}/sandbox/lists/{self._list_name}/contacts"
        async with self._session.get(url, params={"all": "1"}) as response:
            response.raise_for_status()
            return set((await response.json())["contacts"])
