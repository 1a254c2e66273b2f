"""The API put together, as an application of its own to be mounted under `/api/v1`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from aiohttp import web
from aiohttp.typedefs import Handler

from service import supervision
from service.config.settings import AccountSettings
from service.model.changes import OutcomeKind
from service.observe.api.actions import Actions
from service.observe.api.authentication import ApiKeys, require_api_key
from service.observe.api.comparing import ListComparing
from service.observe.api.conditions import ConditionQuestions
from service.observe.api.cross_site import refuse_other_sites
from service.observe.api.events import Events
from service.observe.api.forgetting import Forgetting
from service.observe.api.identity import Identity
from service.observe.api.imports import ImportQuestions
from service.observe.api.meter import Meter
from service.observe.api.overview import OverviewQuestion
from service.observe.api.preview import Previews
from service.observe.api.reloading import Reloaded, Reloading
from service.observe.api.removals import HeldSyncs
from service.observe.api.requests import IS_ACTION
from service.observe.api.routes import Questions
from service.observe.api.sending import Sending
from service.observe.api.sessions import Sessions
from service.observe.api.trials import TrialActions
from service.observe.conditions import Conditions
from service.store.port import Erasures, Guard, History, Reading, Steering
from service.supervision import Supervisor

PREFIX = "/api/v1"


class Api:
    """The API; `events` is to be told of each delivery that was answered. `accounts` may change while it runs."""

    def __init__(
        self,
        accounts: Mapping[str, AccountSettings],
        keys: ApiKeys,
        *,
        identity: Identity,
        reader: Reading,
        steering: Steering,
        guard: Guard,
        sending: Sending,
        erasures: Erasures,
        reload: Callable[[str], Awaitable[Reloaded]],
        backlog: Callable[[], int],
        to_send: Callable[[str], int],
        store_fault: Callable[[], str | None],
        results: Callable[[], Mapping[str, Mapping[OutcomeKind, int]]],
        history: History,
        check_runs: Callable[[], None],
        supervisor: Supervisor,
        conditions: Conditions,
        heartbeat_seconds: float,
    ) -> None:
        self._keys = keys
        self._identity = identity
        self._supervisor = supervisor
        self._sessions = Sessions(keys)
        self._conditions = conditions
        self._reloading = Reloading(reload, check_runs)
        self._meter = Meter(sending.calls, results, backlog)
        self._questions = Questions(
            accounts, keys, reader, sending, meter=self._meter, to_send=to_send, store_fault=store_fault
        )
        self._imports = ImportQuestions(reader)
        self._overview = OverviewQuestion(
            reader,
            self._meter,
            conditions=conditions,
            account_documents=self._questions.account_documents,
            imports=sending.imports_statuses,
        )
        self._previews = Previews(reader, sending, check_runs)
        self._actions = Actions(reader, steering, sending, check_runs)
        self._held_syncs = HeldSyncs(reader, guard, sending, check_runs)
        self._comparing = ListComparing(reader, steering, sending, check_runs)
        self._trials = TrialActions(sending, check_runs)
        self._forgetting = Forgetting(accounts, erasures, reader.accounts, sending, check_runs)
        self.events = Events(
            keys,
            reader,
            sending,
            self._meter,
            history=history,
            account_documents=self._questions.account_documents,
            conditions=conditions.current,
            heartbeat_seconds=heartbeat_seconds,
        )

    def add_to(self, app: web.Application) -> None:
        """Serve the API under `/api/v1` of `app`."""
        api = web.Application(
            middlewares=[require_api_key(self._keys, PREFIX), refuse_other_sites, self._look_after_actions]
        )
        self._identity.add_routes(api)
        self._sessions.add_routes(api)
        self._reloading.add_routes(api)
        self._questions.add_routes(api)
        self._imports.add_routes(api)
        self._overview.add_routes(api)
        ConditionQuestions(self._conditions).add_routes(api)
        self._previews.add_routes(api)
        self._actions.add_routes(api)
        self._held_syncs.add_routes(api)
        self._comparing.add_routes(api)
        self._trials.add_routes(api)
        self._forgetting.add_routes(api)
        self.events.add_routes(api)
        api.on_response_prepare.append(_keep_out_of_caches)
        api.on_shutdown.append(self._end_watching)
        api.cleanup_ctx.append(self._run)
        app.add_subapp(PREFIX, api)

    @web.middleware
    async def _look_after_actions(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        if request.get(IS_ACTION):
            await self._conditions.look()
        return answer

    async def _run(self, _app: web.Application) -> AsyncIterator[None]:
        task = self._supervisor.start("events", self.events.run())
        looking = self._supervisor.start("conditions", self._conditions.run(self._supervisor), beats=True)
        yield
        await supervision.stop(task, looking)
        await self.events.keep_last_minute()

    async def _end_watching(self, _app: web.Application) -> None:
        self.events.end()


async def _keep_out_of_caches(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
