"""A service with FastAPI, pydantic and SQLAlchemy: commit the page, answer 200, send in a background task.

Followed from the documentation: FastAPI's `BackgroundTasks` for what happens after the answer, with a session of its own
since that of the request is closed by then; `lifespan` for what the application shares; uvicorn with its `standard`
extras, one process; one `httpx.AsyncClient` for the life of the application, with as many connections as calls may be
under way. No more pages than that are being sent at a time, and what was sent is noted every 100 users.

FastAPI says nothing of background tasks that a crash has cut off: they are gone. With PEER_RESUME=1 the service looks for
unsent rows when it starts, as a careful author would have it do.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import uvicorn
from fastapi import BackgroundTasks, FastAPI, HTTPException, Request
from pydantic import BaseModel

from benchmarks.peers.programs.fastapi_store import MemberStore
from benchmarks.peers.programs.job import SIGNATURE_HEADER, JobSettings, is_signed, membership_of, read_settings

_USERS_NOTED_AT_ONCE = 100
_TIMEOUT_SECONDS = 30


class _User(BaseModel):
    id: str


class _Segment(BaseModel):
    id: int
    name: str


class _SyncInfo(BaseModel):
    page_number: int
    total_pages: int
    sync_task_id: str


class _Data(BaseModel):
    segment: _Segment
    sync_info: _SyncInfo
    add: list[_User]


class _Page(BaseModel):
    action_type: str
    data: _Data


class _PageSender:
    """Sends the users of a page that have not been sent."""

    def __init__(self, settings: JobSettings, store: MemberStore, client: httpx.AsyncClient) -> None:
        self._settings = settings
        self._store = store
        self._client = client
        self._turns = asyncio.Semaphore(settings.concurrency)

    async def ensure_list(self) -> None:
        """Create the list unless there is one of that name."""
        found = await self._client.get("/v2/accountlists", params={"name": self._settings.list_name})
        if found.status_code != httpx.codes.OK:
            body = {"name": self._settings.list_name, "enhanced": True}
            (await self._client.post("/v2/accountlists", json=body)).raise_for_status()

    async def send(self, page: str) -> None:
        """Send one user after another; several pages at a time make several calls at a time."""
        async with self._turns:
            members = await self._store.unsent_users(page)
            for start in range(0, len(members), _USERS_NOTED_AT_ONCE):
                some = members[start : start + _USERS_NOTED_AT_ONCE]
                for _, user_id in some:
                    body = membership_of(self._settings.list_name, user_id)
                    (await self._client.post("/v2/contacts", json=body)).raise_for_status()
                await self._store.mark_sent([row for row, _ in some])


def make_application(settings: JobSettings, *, resume: bool) -> FastAPI:
    """Return the application; `resume`: what is unsent at the start is sent then."""
    store = MemberStore(str(Path(settings.directory) / "members.db"))

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        limits = httpx.Limits(max_connections=settings.concurrency, max_keepalive_connections=settings.concurrency)
        async with httpx.AsyncClient(
            base_url=settings.cordial_url, headers=settings.headers, limits=limits, timeout=_TIMEOUT_SECONDS
        ) as client:
            await store.open()
            sender = application.state.sender = _PageSender(settings, store, client)
            await sender.ensure_list()
            unsent = await store.unsent_pages() if resume else []
            resumed = [asyncio.create_task(sender.send(page)) for page in unsent]
            yield
            for task in resumed:
                task.cancel()
            await store.close()

    async def take(request: Request, background_tasks: BackgroundTasks) -> dict[str, str]:
        # The signature is over the bytes as they came, so the model cannot be a parameter.
        body = await request.body()
        if not is_signed(settings.heap_secret, request.headers.get(SIGNATURE_HEADER, ""), body):
            raise HTTPException(status_code=403)
        data = _Page.model_validate_json(body).data
        page = f"{data.sync_info.sync_task_id}:{data.sync_info.page_number}"
        await store.add(page, [user.id for user in data.add])
        background_tasks.add_task(request.app.state.sender.send, page)
        return {"status": "accepted"}

    application = FastAPI(lifespan=lifespan)
    application.add_api_route("/", take, methods=["POST"])
    return application


def main() -> None:
    settings = read_settings()
    application = make_application(settings, resume=os.environ.get("PEER_RESUME") == "1")
    uvicorn.run(application, host="127.0.0.1", port=settings.port, log_level="warning")


if __name__ == "__main__":
    main()
