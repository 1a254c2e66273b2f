"""What tests, people and the page see of the imports and do to them: `/sandbox/imports…`, open, meant for loopback."""

import msgspec
from aiohttp import web

from service.sandbox.imports.faults import ImportFault
from service.sandbox.imports.job import ImportJob
from service.sandbox.imports.jobs import ImportJobs

_MAX_SHOWN = 50


def add_import_control_routes(application: web.Application, jobs: ImportJobs) -> None:
    """Add `/sandbox/imports` and `/sandbox/imports/faults`."""
    control = _ImportControl(jobs)
    application.add_routes(
        [
            web.get("/sandbox/imports", control.imports),
            web.post("/sandbox/imports/faults", control.add_faults),
            web.delete("/sandbox/imports/faults", control.clear_faults),
            web.post("/sandbox/imports/refused", control.refuse),
        ]
    )


class _ImportControl:
    def __init__(self, jobs: ImportJobs) -> None:
        self._jobs = jobs

    async def imports(self, _request: web.Request) -> web.Response:
        """Answer the last fifty imports, newest first, and the faults that wait for one."""
        jobs = list(self._jobs.jobs.values())[: -_MAX_SHOWN - 1 : -1]
        return _json({"imports": [_shown(job) for job in jobs], "faults": self._jobs.faults.script})

    async def add_faults(self, request: web.Request) -> web.Response:
        """Take one fault or an array of them."""
        try:
            faults = msgspec.json.decode(await request.read(), type=ImportFault | list[ImportFault])
        except msgspec.DecodeError as mistake:
            raise web.HTTPUnprocessableEntity(text=str(mistake)) from None
        self._jobs.faults.add(*([faults] if isinstance(faults, ImportFault) else faults))
        return _json({"faults": self._jobs.faults.script})

    async def refuse(self, request: web.Request) -> web.Response:
        """Take an array of addresses whose rows are rejected from now on."""
        try:
            addresses = msgspec.json.decode(await request.read(), type=list[str])
        except msgspec.DecodeError as mistake:
            raise web.HTTPUnprocessableEntity(text=str(mistake)) from None
        self._jobs.refused_addresses.update(addresses)
        return _json({"refused": len(self._jobs.refused_addresses)})

    async def clear_faults(self, _request: web.Request) -> web.Response:
        self._jobs.faults.clear()
        return _json({"faults": []})


def _shown(job: ImportJob) -> dict[str, object]:
    request = job.request
    return {
        "id": job.id,
        "name": request.name,
        # Without the part that makes it unguessable: the page is open.
        "server": str(request.url.origin()),
        "strategy": request.strategy,
        "suppress_triggers": request.suppress_triggers,
        "status": job.status,
        "failure": job.failure,
        "total_items": job.total_items,
        "completed_items": job.completed_items,
        "outcomes": job.outcomes,
        "started_at_seconds": job.started_at_seconds,
        "ended_at_seconds": job.ended_at_seconds,
    }


def _json(document: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(document), content_type="application/json")
