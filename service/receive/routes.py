"""The webhook that Heap calls."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import MappingProxyType

import msgspec
from aiohttp import HttpVersion11, hdrs, web
from aiohttp.typedefs import Handler
from aiohttp_apispec import docs
from msgspec import UNSET

from service.clock import SteadyClock, wall_ms
from service.config.secrets import Timings as SecretTimings
from service.config.settings import AccountSettings
from service.errors import ErrorCode, ServiceError, StoppingError
from service.flood import BoundedLog
from service.model.deliveries import Delivery
from service.model.views import Preview
from service.receive.answers import Answered, WebhookAnswer, log_answer, to_answer
from service.receive.authentication import (
    MAX_BYTES_ON_LOOP,
    AuthenticationError,
    Authenticator,
    ClockSuspicion,
    check_id_token,
)
from service.receive.body import BodyReader
from service.receive.body import Timings as BodyTimings
from service.receive.delivery import to_delivery
from service.receive.documentation import webhook_documentation
from service.receive.page_reader import PageReader, Timings
from service.receive.payload import decode_page
from service.receive.signature import HEADER_NAME, SignatureHeader, parse_header
from service.store.port import Inbox

# Never sent, for nobody is there to read it; nginx made the number known.
_CLIENT_GONE_STATUS = 499

_SHOWN_CALLS = 10
_METHOD_NOT_ALLOWED = 405
_MEANT_FOR_WEBHOOK = re.compile(r"/*webhooks?(/|$)", re.IGNORECASE)
_MAX_SHOWN_PATH = 200

_encode = msgspec.json.Encoder().encode


# Says what would be sent for a delivery that is kept nowhere, with so many calls at most.
Foretell = Callable[[Delivery, int], Awaitable[Preview]]


class _Progress:
    """How far one request has come: what its log line tells, whichever way the request ends."""

    def __init__(self, account: str | None) -> None:
        self.account = account
        self.delivery: Delivery | None = None
        self.body_bytes = 0
        self.is_authentic = False


class Webhook:
    """Takes Heap's deliveries: authenticates, understands and hands them to the inbox, then answers."""

    def __init__(
        self,
        accounts: Mapping[str, AccountSettings],
        inbox: Inbox,
        *,
        max_body_bytes: int,
        is_stopping: Callable[[], bool],
        on_answer: Callable[[Answered], None] | None = None,
        foretell: Foretell | None = None,
        last_received_ms: Mapping[str, int] = MappingProxyType({}),
        page_timings: Timings | None = None,
        secret_timings: SecretTimings | None = None,
        body_timings: BodyTimings | None = None,
    ) -> None:
        self._secret_timings = secret_timings
        self._bounded_log = BoundedLog()
        self.clock_suspicion = ClockSuspicion(wall_ms, SteadyClock().now_ms, last_received_ms)
        self._body_reader = BodyReader(max_body_bytes, body_timings)
        self._page_reader = PageReader(page_timings)
        self.serve(accounts, max_body_bytes=max_body_bytes)
        self._inbox = inbox
        self._is_stopping = is_stopping
        self._foretell = foretell
        self._on_answer = on_answer

    def serve(self, accounts: Mapping[str, AccountSettings], *, max_body_bytes: int) -> None:
        """Take deliveries for these accounts from now on, their secrets read anew."""
        self._authenticator = Authenticator(accounts, self.clock_suspicion, self._bounded_log, self._secret_timings)
        self._body_reader.max_body_bytes = max_body_bytes

    @docs(
        **webhook_documentation(
            "Deliver a page to the account named in the address",
            {"in": "path", "name": "account", "schema": str, "description": "the account's name in the configuration"},
        )
    )
    async def receive_for_account(self, request: web.Request) -> web.Response:
        """Take a delivery to `/webhooks/heap/{account}`."""
        return await self._receive(request, request.match_info["account"])

    @docs(**webhook_documentation("Deliver a page to the account with its id_token, or to the only account"))
    async def receive(self, request: web.Request) -> web.Response:
        """Take a delivery to `/webhooks/heap`."""
        return await self._receive(request, None)

    @web.middleware
    async def note_misdirected(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Log and count, like any refused delivery, what was meant for the webhook and has another address or method."""
        error = request.match_info.http_exception
        if error is None or not _MEANT_FOR_WEBHOOK.match(request.path):
            return await handler(request)
        is_address = error.status != _METHOD_NOT_ALLOWED
        fault = f"no address of the webhook: {request.path[:_MAX_SHOWN_PATH]}" if is_address else "not a POST"
        code = ErrorCode.NOT_FOUND if is_address else ErrorCode.METHOD_NOT_ALLOWED
        self._tell_refusal(error.status, code, fault)
        return await handler(request)

    async def meet_expectation(self, request: web.Request) -> None:
        """Say that a body may come; log and count the refusal of a delivery that expects anything else.

        aiohttp answers an expectation before any middleware sees the request.
        """
        if request.headers[hdrs.EXPECT].lower() == "100-continue":
            if request.version >= HttpVersion11:
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request.writer.output_size = 0
            return
        refusal = web.HTTPExpectationFailed()
        self._tell_refusal(refusal.status, ErrorCode.INVALID_REQUEST, "only 100-continue can be expected")
        raise refusal

    def _tell_refusal(self, status: int, code: ErrorCode, reason: str) -> None:
        self._tell(
            Answered(
                status=status,
                outcome=code.value,
                reason=reason,
                account=None,
                delivery=None,
                is_authentic=False,
                body_bytes=0,
                duration_seconds=0.0,
            )
        )

    def _tell(self, answered: Answered) -> None:
        log_answer(answered, self._bounded_log)
        if self._on_answer is not None:
            self._on_answer(answered)

    async def _receive(self, request: web.Request, account_name: str | None) -> web.Response:
        started = time.perf_counter()
        progress = _Progress(self._authenticator.addressed(account_name))
        status, outcome, reason = 500, ErrorCode.INTERNAL.value, None
        try:
            answer = await self._accept(request, account_name, progress)
            status, outcome = 200, answer.status
            return web.Response(body=_encode(answer), content_type="application/json")
        except AuthenticationError as error:
            progress.account = error.account or progress.account
            status, outcome, reason = error.status, error.code.value, error.reason
            raise
        except (ConnectionError, asyncio.CancelledError):
            status, outcome = _CLIENT_GONE_STATUS, "client_gone"
            raise
        except ServiceError as error:
            status, outcome, reason = error.status, error.code.value, _reason_of(error)
            raise
        finally:
            self._tell(
                Answered(
                    status=status,
                    outcome=outcome,
                    reason=reason,
                    account=progress.account,
                    delivery=progress.delivery,
                    is_authentic=progress.is_authentic,
                    body_bytes=progress.body_bytes,
                    duration_seconds=time.perf_counter() - started,
                )
            )

    async def _accept(self, request: web.Request, account_name: str | None, progress: _Progress) -> WebhookAnswer:
        received_at_ms = wall_ms()
        if self._is_stopping():
            raise StoppingError
        dry_run = _is_dry_run(request)
        _check_content_type(request.content_type)
        self._body_reader.check_declared_length(request)
        header = parse_header(request.headers.getall(HEADER_NAME, []))
        self._authenticator.refuse_by_header(header, received_at_ms)
        async with self._body_reader.body(request) as body:
            progress.body_bytes = len(body)
            account = await self._authenticator.authenticate(account_name, header, body, received_at_ms)
            progress.account = account.name
            progress.is_authentic = True
            async with self._understood(account, header, body, received_at_ms) as delivery:
                progress.delivery = delivery
                if dry_run:
                    preview = UNSET if self._foretell is None else await self._foretell(delivery, _SHOWN_CALLS)
                    return to_answer("dry_run", delivery, preview)
                receipt = await self._inbox.accept(delivery)
                return to_answer(receipt.status.value, delivery)

    @contextlib.asynccontextmanager
    async def _understood(
        self, account: AccountSettings, header: SignatureHeader, body: bytes, received_at_ms: int
    ) -> AsyncIterator[Delivery]:
        """Give the delivery of an authentic page; of large ones, there is one at a time."""
        if len(body) > MAX_BYTES_ON_LOOP:
            async with self._page_reader.understood(account, header, body, received_at_ms) as delivery:
                yield delivery
        else:
            yield _understand(account, header, body, received_at_ms)

    async def close(self, _app: web.Application) -> None:
        """End what the webhook has running."""
        self._bounded_log.tell()
        await self._page_reader.close()


def add_routes(app: web.Application, webhook: Webhook) -> None:
    """Serve the webhook at `/webhooks/heap/{account}` and `/webhooks/heap`, also with a slash behind them.

    The app needs `error_middleware`, and inside it `webhook.note_misdirected`.
    """

    # Functions of their own, so that the API's document shows each address once.
    async def receive_for_account(request: web.Request) -> web.Response:
        return await webhook.receive_for_account(request)

    async def receive(request: web.Request) -> web.Response:
        return await webhook.receive(request)

    app.on_cleanup.append(webhook.close)
    app.router.add_post(
        "/webhooks/heap/{account}", webhook.receive_for_account, expect_handler=webhook.meet_expectation
    )
    app.router.add_post("/webhooks/heap/{account}/", receive_for_account, expect_handler=webhook.meet_expectation)
    app.router.add_post("/webhooks/heap", webhook.receive, expect_handler=webhook.meet_expectation)
    app.router.add_post("/webhooks/heap/", receive, expect_handler=webhook.meet_expectation)


def _understand(account: AccountSettings, header: SignatureHeader, body: bytes, received_at_ms: int) -> Delivery:
    # A function of its own, so that the page's thousands of objects are gone before anybody waits for the store.
    page = decode_page(body)
    check_id_token(account, page.id_token)
    return to_delivery(page, account, body=body, timestamp_text=header.timestamp_text, received_at_ms=received_at_ms)


def _check_content_type(content_type: str) -> None:
    if content_type != "application/json" and not content_type.endswith("+json"):
        raise ServiceError(ErrorCode.NOT_JSON, "the body must be sent as application/json")


def _is_dry_run(request: web.Request) -> bool:
    asked = request.query.getall("dry_run", ["false"])
    if asked not in (["true"], ["false"]):
        # A page that was meant to be tried out must not be delivered.
        raise ServiceError(ErrorCode.INVALID_REQUEST, "the query parameter dry_run must be true or false")
    return asked == ["true"]


def _reason_of(error: ServiceError) -> str:
    return error.message if error.path is None else f"{error.message} at {error.path}"
