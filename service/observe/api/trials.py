"""`/accounts/{name}/trial`: trying on a real account what Cordial's documents leave open."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

import msgspec
import structlog
from aiohttp import web
from aiohttp_apispec import docs
from msgspec import Meta

from service import __version__
from service.model.trial import POINT_TEXTS, TrialOutcome, TrialPoint, TrialProgress, TrialResult
from service.observe.api import documentation as described
from service.observe.api import examples
from service.observe.api.authentication import ACTOR
from service.observe.api.requests import NoQuery, read_action, read_query
from service.observe.api.sending import Sending

log = structlog.get_logger()

_MAX_CONTACTS = 5
Address = Annotated[str, Meta(pattern=r"^[a-z0-9._+-]+@[a-z0-9.-]+\.[a-z]+\Z", max_length=100)]


class TrialRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The test contacts, as addresses in lower case that Heap does not send and whose mailboxes are yours.

    `contacts`: Cordial may know them, with the status "none", or not yet. `subscribed`: one that is subscribed in Cordial;
    without it, nothing is shown about those.
    """

    contacts: Annotated[list[Address], Meta(min_length=1, max_length=_MAX_CONTACTS)]
    subscribed: Address | None = None


class TrialPointDocument(msgspec.Struct, frozen=True):
    """What trying a point showed, and what Cordial's documents lead us to expect; `what_to_do` where it is otherwise.

    `is_harmless`: nothing is wrong where it is otherwise.
    """

    point: TrialPoint
    outcome: TrialOutcome
    documented: str
    detail: str
    what_to_do: str
    is_harmless: bool
    at: datetime


class TrialDocument(msgspec.Struct, frozen=True):
    """The last trial of this run of the service, null if there was none, and what trials have shown so far."""

    account: str
    version: str
    trial: TrialProgress | None
    results: list[TrialPointDocument]


class TrialActions:
    """Begins trials on behalf of the holder of an API key, and tells what they show."""

    def __init__(self, sending: Sending, check_runs: Callable[[], None]) -> None:
        self._sending = sending
        self._check_runs = check_runs

    def add_routes(self, app: web.Application) -> None:
        """Serve the trials."""
        app.router.add_get("/accounts/{name}/trial", self.trial)
        app.router.add_post("/accounts/{name}/trial", self.begin)

    @docs(
        **described.operation(
            "accounts",
            "What a trial has shown",
            "Each point that Cordial does not document: as expected, different, or not tried.",
            answer=TrialDocument,
            example=examples.TRIAL,
            query=NoQuery,
            path=[described.ACCOUNT_NAME],
        )
    )
    async def trial(self, request: web.Request) -> web.Response:
        """Answer `GET /accounts/{name}/trial`."""
        read_query(request, NoQuery)
        return described.json_response(await self._document(request.match_info["name"]))

    @docs(
        **described.operation(
            "accounts",
            "Try an account",
            "Finds out on the real account what Cordial does not document. It creates up to three lists and up "
            "to five contacts, sets memberships of your test contacts on those lists, and lets Cordial fetch "
            "two files with a few rows. At the end it removes the contacts from the lists. It does not delete "
            "the lists and contacts: delete them in Cordial. The answer comes at once; ask again for the "
            "results.",
            answer=TrialDocument,
            example=examples.TRIAL,
            body=TrialRequest,
            body_examples={
                "two and one": {
                    "value": {"contacts": ["a@example.com", "b@example.com"], "subscribed": "c@example.com"}
                }
            },
            path=[described.ACCOUNT_NAME],
            conflict="The account is stopped, paused or in a dry run, a trial is running, or a contact is in a segment.",
        )
    )
    async def begin(self, request: web.Request) -> web.Response:
        """Answer `POST /accounts/{name}/trial`."""
        asked = await read_action(request, TrialRequest, self._check_runs)
        name = request.match_info["name"]
        contacts = [address for address in dict.fromkeys(asked.contacts) if address != asked.subscribed]
        account = self._sending.account(name)
        await account.trials.begin(contacts or asked.contacts, asked.subscribed or "", request[ACTOR])
        log.info("action.done", action="account.trial", actor=request[ACTOR], account=name)
        return described.json_response(await self._document(name))

    async def _document(self, account: str) -> TrialDocument:
        progress, results = await self._sending.account(account).trials.shown()
        return TrialDocument(account, __version__, progress, [_point(result) for result in results])


def _point(result: TrialResult) -> TrialPointDocument:
    text = POINT_TEXTS[result.point]
    is_otherwise = result.outcome is TrialOutcome.OTHERWISE
    return TrialPointDocument(
        result.point,
        result.outcome,
        text.documented,
        result.detail,
        text.what_to_do if is_otherwise else "",
        text.is_harmless,
        result.at,
    )
