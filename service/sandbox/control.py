"""What tests, people and the page see of the stand-in and do to it: `/sandbox/…`, open, meant for loopback."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from aiohttp import web

from service.model.contacts import EMAIL
from service.observe.dashboard.routes import DESIGN
from service.sandbox.cordial import Sandbox
from service.sandbox.faults import Fault
from service.sandbox.imports.control import add_import_control_routes
from service.sandbox.journal import CallRecord
from service.web.headers import PAGE_HEADERS

_PAGE = Path(__file__).parent / "page"
_DEFAULT_PER_PAGE = 50
_MAX_PER_PAGE = 1000
_WHOLE_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


def add_control_routes(application: web.Application, sandbox: Sandbox) -> None:
    """Add `/sandbox/…`, the page at `/` and its files."""
    add_import_control_routes(application, sandbox.imports)
    control = _Control(sandbox)
    application.add_routes(
        [
            web.get("/sandbox/state", control.state),
            web.get("/sandbox/lists/{name}/contacts", control.members),
            web.get("/sandbox/calls", control.calls),
            web.post("/sandbox/faults", control.add_faults),
            web.delete("/sandbox/faults", control.clear_faults),
            web.post("/sandbox/reset", control.reset),
            web.get("/", _file(_PAGE / "index.html", "text/html")),
            web.get("/sandbox/page/design.css", _file(DESIGN, "text/css")),
            web.get("/sandbox/page/sandbox.css", _file(_PAGE / "sandbox.css", "text/css")),
            web.get("/sandbox/page/sandbox.js", _file(_PAGE / "sandbox.js", "text/javascript")),
            web.get("/sandbox/page/icon.svg", _file(_PAGE / "icon.svg", "image/svg+xml")),
        ]
    )


class _Control:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def state(self, _request: web.Request) -> web.Response:
        """Answer the counts: lists, contacts, imports, calls by status and by operation.

        The status is `cut` for connections cut instead of answers.
        """
        sandbox, state, journal = self._sandbox, self._sandbox.state, self._sandbox.journal
        return _json(
            {
                "lists": [
                    {"id": found.id, "name": found.name, "count": len(found.members)} for found in state.lists.values()
                ],
                "contacts": len(state.contacts),
                "subscription_changes": state.subscription_changes,
                "imports": sandbox.imports.created,
                "calls": journal.total,
                "calls_by_status": {
                    "cut" if status is None else str(status): count for status, count in journal.by_status.items()
                },
                "calls_by_operation": journal.by_operation,
                "max_in_flight_per_contact": journal.max_in_flight_per_contact,
                "faults": sandbox.faults.script,
            }
        )

    async def members(self, request: web.Request) -> web.Response:
        """Answer who is on a list, sorted: a page of those that contain `search`, or everybody with `all=1`.

        `key` chooses a secondary key to show in place of the e-mail address.
        """
        name = request.match_info["name"]
        try:
            contacts = self._sandbox.state.members(name, request.query.get("key", EMAIL))
        except KeyError as missing:
            raise web.HTTPNotFound(text=f"no such list or key: {missing}") from None
        search = request.query.get("search", "").strip().lower()
        if search:
            contacts = [contact for contact in contacts if search in contact.lower()]
        total = len(contacts)
        if request.query.get("all") != "1":
            page = _whole_number(request, "page", 1)
            per_page = min(_whole_number(request, "per_page", _DEFAULT_PER_PAGE), _MAX_PER_PAGE)
            contacts = contacts[(page - 1) * per_page : page * per_page]
        return _json({"name": name, "total": total, "contacts": contacts})

    async def calls(self, request: web.Request) -> web.Response:
        """Answer the last hundred calls, oldest first, or with `all=1` every call if the journal keeps them."""
        journal = self._sandbox.journal
        calls: list[CallRecord] = journal.calls if request.query.get("all") == "1" else list(journal.recent)
        return _json({"calls": calls})

    async def add_faults(self, request: web.Request) -> web.Response:
        """Take one fault or an array of them."""
        try:
            faults = msgspec.json.decode(await request.read(), type=Fault | list[Fault])
        except msgspec.DecodeError as mistake:
            raise web.HTTPUnprocessableEntity(text=str(mistake)) from None
        self._sandbox.faults.add(*([faults] if isinstance(faults, Fault) else faults))
        return _json({"faults": self._sandbox.faults.script})

    async def clear_faults(self, _request: web.Request) -> web.Response:
        self._sandbox.faults.clear()
        return _json({"faults": []})

    async def reset(self, _request: web.Request) -> web.Response:
        self._sandbox.reset()
        return _json({"reset": True})


def _whole_number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not _WHOLE_NUMBER.fullmatch(text):
        raise web.HTTPUnprocessableEntity(text=f"{name} must be a whole number from 1")
    return int(text)


def _json(document: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(document), content_type="application/json")


def _file(path: Path, content_type: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    body = path.read_bytes()

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=PAGE_HEADERS)

    return answer
