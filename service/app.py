"""The composition root: builds every stage, connects them, starts and stops them in order."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog
from aiohttp import web

from service import __version__, supervision
from service.clock import SteadyClock
from service.config.reloading import Reload
from service.config.secrets import Timings as SecretTimings
from service.config.settings import AccountSettings, Settings
from service.deliver import timings as delivering
from service.deliver.deliverer import Deliverer
from service.deliver.imports import files as import_files
from service.deliver.imports.files import ImportFiles
from service.errors import ConfigurationError, StartingError, StoppingError
from service.log import configure as configure_log
from service.log import lost_lines
from service.model.conditions import Fact
from service.model.deliveries import Delivery
from service.model.views import Preview
from service.observe import health
from service.observe.api import authentication
from service.observe.api.application import Api
from service.observe.api.authentication import ApiKeys, Delays
from service.observe.api.events import AnsweredDelivery
from service.observe.api.identity import Identity
from service.observe.api.reloading import Reloaded
from service.observe.conditions import Conditions
from service.observe.dashboard import routes as dashboard_routes
from service.observe.facts import Facts
from service.observe.metrics import routes as metrics_routes
from service.observe.metrics.files import store_files
from service.observe.metrics.moment import Moment
from service.observe.metrics.routes import Metrics
from service.observe.notices.notices import Notices
from service.observe.swagger import openapi
from service.observe.swagger import routes as swagger_routes
from service.receive import routes as receive_routes
from service.receive.answers import Answered
from service.store.sqlite import writer
from service.store.sqlite.eraser import Eraser
from service.store.sqlite.figures import FiguresReader
from service.store.sqlite.folder import Folder
from service.store.sqlite.judge import Judge
from service.store.sqlite.reading import Reader
from service.store.sqlite.store import SqliteStore
from service.supervision import Supervisor
from service.web.errors import error_middleware
from service.web.server import GuardedRunner
from service.web.tls import ServedCertificate, TlsFiles, load_certificate

log = structlog.get_logger()


class Timings(msgspec.Struct, frozen=True):
    """How long the stages wait; each says what its own times mean.

    `heartbeat_seconds`: whoever watches the events of the API is sent something at least so often. `figures_seconds`: for so
    long the figures that metrics show are kept.
    """

    store: writer.Timings = writer.Timings()
    deliver: delivering.Timings = delivering.Timings()
    wrong_keys: authentication.Timings = authentication.Timings()
    heartbeat_seconds: float = 15.0
    secrets: SecretTimings = SecretTimings()
    figures_seconds: float = 5.0


class Service:
    """The running service; made by `running_service`."""

    def __init__(
        self,
        settings: Settings,
        accounts: dict[str, AccountSettings],
        store: SqliteStore,
        deliverer: Deliverer,
        supervisor: Supervisor,
        *,
        reader: Reader,
        figures: FiguresReader,
        metrics: Metrics,
        tls: ServedCertificate | None,
        clock: SteadyClock,
        timings: Timings,
        reload: "ReloadFor | None",
    ) -> None:
        self.settings = settings
        # Those being served at the moment: changed in place, for several parts look at it.
        self.accounts = accounts
        self.store = store
        self.reader = reader
        self.figures = figures
        self.metrics = metrics
        self.tls = tls
        self.deliverer = deliverer
        self.supervisor = supervisor
        self.folder = Folder(store, deliverer.wake)
        self.judge = Judge(store.guard)
        self.keys = ApiKeys(
            settings.server.api_keys, settings.api_keys, Delays(timings=timings.wrong_keys), timings.secrets
        )
        self.webhook = receive_routes.Webhook(
            settings.accounts,
            store,
            max_body_bytes=settings.server.max_body_bytes,
            is_stopping=lambda: self.is_stopping,
            on_answer=self._answered,
            foretell=self._foretell,
            last_received_ms=store.last_received_ms,
            secret_timings=timings.secrets,
        )
        self.facts = Facts(
            lambda: self.settings,
            store,
            store.backlog,
            deliverer,
            supervisor,
            clock_fault=self.webhook.clock_suspicion.fault,
            lost_lines=lost_lines,
            loop_lag=metrics.loop_lag,
            certificate=tls,
        )
        self.conditions = Conditions(
            store.conditions,
            self._facts_now,
            lambda: self.accounts,
            clock.wall_ms,
            steady_ms=clock.now_ms,
            is_starting=lambda: self.is_starting,
        )
        self.notices = Notices(
            store.notices,
            self.conditions.kept,
            self._dashboard_address,
            now_ms=clock.wall_ms,
            steady_ms=clock.now_ms,
            supervisor=supervisor,
        )
        self.api = Api(
            self.accounts,
            self.keys,
            identity=Identity(__version__, datetime.now(UTC), Path(settings.store.path), self.accounts),
            reader=reader,
            steering=store.steering,
            guard=store.guard,
            sending=deliverer,
            erasures=store.erasures,
            reload=self._take_up,
            backlog=lambda: store.backlog.to_send_total,
            to_send=store.backlog.to_send_of,
            store_fault=lambda: store.fault,
            results=lambda: metrics.counting.results,
            history=store.history,
            check_runs=self._check_runs,
            supervisor=supervisor,
            conditions=self.conditions,
            heartbeat_seconds=timings.heartbeat_seconds,
        )
        self.is_starting = True
        self.is_stopping = False
        self.url = ""
        self._reload = reload

    async def apply(self, settings: Settings) -> None:
        """Go on with other settings; they must differ from the present ones in nothing that needs a restart.

        All of them hold at once for whoever asks. Where sending changes for an account, this returns when its calls on
        their way are done (see `Deliverer.apply`). Raises `StoreUnavailableError`, or `ConfigurationError` for a
        certificate that cannot serve, and then nothing has changed.
        """
        tls_files = TlsFiles.of(settings.server)
        certificate = load_certificate(tls_files) if tls_files else None
        await self.store.add_accounts(settings.accounts)
        paused = await self.store.steering.paused_accounts()
        if self.tls is not None and tls_files is not None and certificate is not None:
            self.tls.use(tls_files, certificate)
        if settings.log != self.settings.log:
            configure_log(settings.log)
        self.settings = settings
        self.accounts.clear()
        self.accounts.update(settings.accounts)
        _serve_backlog(self.store, settings)
        self.metrics.counting.add(settings.accounts)
        self.keys.accept(settings.server.api_keys, settings.api_keys)
        self.webhook.serve(settings.accounts, max_body_bytes=settings.server.max_body_bytes)
        await self.notices.serve(settings.notices)
        await self.deliverer.apply(
            settings.accounts, settings.store, paused=paused, grace_seconds=settings.server.shutdown_grace_seconds
        )

    async def stop_delivering(self) -> None:
        """Finish calls within the grace that is configured now, and commit their results."""
        await self.deliverer.stop(self.settings.server.shutdown_grace_seconds)

    async def moment(self) -> Moment:
        """Read what the metrics show of this moment."""
        backlog = self.store.backlog
        return Moment(
            version=__version__,
            backlog={
                "inbox": backlog.unfolded_users,
                "guarded": backlog.guarded_total,
                "pending": backlog.pending_total,
                "waiting": backlog.waiting_total,
            },
            backlog_limit=self.settings.store.max_backlog,
            account_backlogs={name: (backlog.total_of(name), backlog.max_of(name)) for name in self.accounts},
            statuses=self.deliverer.statuses(),
            pauses=self.deliverer.pauses(),
            conditions=self.conditions.lasting().numbers,
            has_write_fault=self.store.fault is not None,
            figures=await self.figures.read(),
            files=store_files(Path(self.settings.store.path)),
        )

    def _facts_now(self) -> Iterator[Fact]:
        yield from self.facts()
        yield from self.notices.facts()

    def _dashboard_address(self) -> str:
        """Return where people outside reach the dashboard, as far as an account says so."""
        addresses = [account.public_url for account in self.accounts.values() if account.public_url]
        return f"{addresses[0]}/" if addresses else ""

    def _check_runs(self) -> None:
        if self.is_stopping:
            raise StoppingError
        if self.is_starting:
            raise StartingError

    async def _take_up(self, actor: str) -> Reloaded:
        if self._reload is None:
            raise ConfigurationError(["this service was not started from a configuration"])
        plan = await self._reload(self, actor)
        return Reloaded(plan.changed, plan.added, plan.removed, plan.needs_restart)

    async def _foretell(self, delivery: Delivery, max_calls: int) -> Preview:
        self._check_runs()
        return await self.deliverer.account(delivery.account).previewer.of_delivery(delivery, max_calls)

    def _answered(self, answered: Answered) -> None:
        self.facts.answered(answered)
        self.api.events.delivery_answered(_for_watchers(answered))
        self.metrics.counting.answered(answered)


# Reads the configuration of a service again, for the actor named. Raises `ConfigurationError` with what is wrong in it.
ReloadFor = Callable[[Service, str], Awaitable[Reload]]


def _serve_backlog(store: SqliteStore, settings: Settings) -> None:
    store.serve(
        {name: account.max_backlog for name, account in settings.accounts.items()},
        max_backlog=settings.store.max_backlog,
        retention_days=settings.store.retention_days,
        guards={
            name: account.hold_removals for name, account in settings.accounts.items() if account.hold_removals.is_on
        },
    )


def make_application(service: Service) -> web.Application:
    """Return the HTTP side of the service."""
    # Whatever reads a body bounds it itself, by a bound that may change while the service runs.
    app = web.Application(middlewares=[error_middleware, service.webhook.note_misdirected])
    service.api.add_to(app)
    receive_routes.add_routes(app, service.webhook)
    import_files.add_routes(
        app,
        ImportFiles(
            service.store.imports,
            service.deliverer.importer,
            service.deliverer.small_files,
            may_fetch_again_seconds=service.deliverer.timings.may_fetch_again_seconds,
        ),
    )
    health.add_routes(app, service.conditions.current, lambda: service.is_stopping)
    metrics_routes.add_routes(
        app,
        service.metrics,
        service.moment,
        authorize=None if service.settings.server.metrics_open else service.keys.authenticate,
    )
    dashboard_routes.add_routes(app)
    swagger_routes.add_routes(app)
    openapi.setup_openapi(app, title="heap-cordial", version=__version__)
    return app


def _for_watchers(answered: Answered) -> AnsweredDelivery:
    at = datetime.now(UTC)
    told = AnsweredDelivery(at, answered.account, answered.status, answered.outcome, answered.reason)
    delivery = answered.delivery
    if delivery is None:
        return told
    return msgspec.structs.replace(
        told,
        segment_name=delivery.segment_name,
        task_id=delivery.task_id,
        page_number=delivery.page_number,
        total_pages=delivery.total_pages,
        added=len(delivery.add),
        removed=len(delivery.remove),
        rejected=delivery.rejected_count,
    )


@contextlib.asynccontextmanager
async def running_service(
    settings: Settings,
    supervisor: Supervisor | None = None,
    timings: Timings | None = None,
    *,
    reload: ReloadFor | None = None,
) -> AsyncIterator[Service]:
    """Run the service until the block ends, then stop it in order (R13).

    `supervisor` starts its tasks, and tells when one has failed: then the block should end. `reload`: for a service that
    runs from a configuration.

    Raises `ConfigurationError` for a certificate that cannot serve, `StoreOpenError` when the store cannot be opened and
    `OSError` when the address is in use.
    """
    timings = timings or Timings()
    tls_files = TlsFiles.of(settings.server)
    tls = ServedCertificate(tls_files) if tls_files else None
    clock = SteadyClock()
    supervisor = supervisor or Supervisor()
    store = await SqliteStore.open(
        Path(settings.store.path),
        settings.accounts,
        max_backlog=settings.store.max_backlog,
        retention_days=settings.store.retention_days,
        clock=clock,
        supervisor=supervisor,
        timings=timings.store,
    )
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        _serve_backlog(store, settings)
        reader = await Reader.open(Path(settings.store.path), clock)
        stack.push_async_callback(reader.close)
        eraser = Eraser(store.erasures, store.empty_wal)
        stack.push_async_callback(eraser.stop)
        eraser.start(supervisor)
        accounts = dict(settings.accounts)
        figures = await FiguresReader.open(Path(settings.store.path), accounts, max_age_seconds=timings.figures_seconds)
        stack.push_async_callback(figures.close)
        metrics = Metrics(settings.accounts)
        deliverer = Deliverer(
            settings.accounts,
            store,
            settings.store,
            clock,
            supervisor=supervisor,
            observer=metrics.counting,
            timings=timings.deliver,
        )
        service = Service(
            settings,
            accounts,
            store,
            deliverer,
            supervisor,
            reader=reader,
            figures=figures,
            metrics=metrics,
            tls=tls,
            clock=clock,
            timings=timings,
            reload=reload,
        )
        metrics.loop_lag.start(supervisor)
        stack.push_async_callback(metrics.loop_lag.stop)
        runner = GuardedRunner(
            make_application(service),
            settings.server,
            supervisor,
            shutdown_timeout=2.0,
            on_unreadable=metrics.counting.unreadable_request,
        )
        # Run in reverse: refuse deliveries, stop folding, finish calls and commit, stop listening, close the store.
        stack.push_async_callback(runner.cleanup)
        stack.push_async_callback(service.stop_delivering)
        stack.push_async_callback(service.folder.stop)
        service.folder.start(supervisor)
        stack.push_async_callback(service.judge.stop)
        service.judge.start(supervisor)
        stack.callback(_begin_stop, service)
        await runner.setup()
        ssl_context = tls.context if tls else None
        site = web.TCPSite(
            runner,
            settings.server.host,
            settings.server.port,
            reuse_address=True,
            ssl_context=ssl_context,
            backlog=runner.accepted_at_once,
        )
        await site.start()
        await service.notices.serve(settings.notices)
        stack.push_async_callback(service.notices.stop)
        if tls is not None:
            stack.push_async_callback(supervision.stop, supervisor.start("certificate", tls.watch()))
        # Listening comes first: Cordial fetches the files of imports here, and with many accounts this takes a while.
        await deliverer.start(await store.steering.paused_accounts())
        host, port = runner.addresses[0][:2]
        service.url = f"{'https' if tls else 'http'}://{'127.0.0.1' if host in {'0.0.0.0', '::'} else host}:{port}"  # noqa: S104
        service.is_starting = False
        log.info("service.started", url=service.url, accounts=sorted(settings.accounts), backlog=store.backlog.total)
        yield service
    log.info("service.stopped")


def _begin_stop(service: Service) -> None:
    service.is_stopping = True
    log.info("service.stopping", grace_seconds=service.settings.server.shutdown_grace_seconds)
