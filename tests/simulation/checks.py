"""What must hold at every moment, and what must hold once everything is at rest."""

import contextlib
import sqlite3
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec

from service.model.deliveries import Delivery
from tests.recount import wrong_counters_of
from tests.simulation.clocks import CLOCK
from tests.simulation.network import Call
from tests.store_model import OrderingModel

_KEY_REFUSED = 401
_THROTTLED = 429
_PROOF_SECONDS = 120.0
# For so long after a page was taken, what it says may be in the inbox, while what an earlier page says is sent.
_FOLDING_SECONDS = 60.0
# The store commits what was answered a few writes later.
_NOT_WRITTEN_SECONDS = 1.0
# The service may take so long to read an answer that has arrived: until then it knows of no wait.
_READING_SECONDS = 0.02
# So many calls that were made after one that was told to wait: then the limit is its contact's own (R8).
_PASSES_THAT_TELL = 3

# A page as the store has it: account, Heap's id of the segment, task, number of the page, digest, when it was received.
_Page = tuple[str, str, str, int, bytes, int]


@dataclass
class _Wait:
    """What Cordial asked for in answer to one call; it is the contact's own once enough later calls of others pass."""

    told_at: float
    until: float
    number: int
    contact: str | None
    is_own: bool
    passes: int = 0


class CallChecks:
    """Looks at every call of the service to Cordial as it goes over the wire."""

    def __init__(self, ports: Mapping[int, str], found: list[str]) -> None:
        # Cordial's ports, and whose account it is.
        self._ports = ports
        self._found = found
        self._in_flight: dict[tuple[str, str, str], Call] = {}
        self._written: dict[str, deque[float]] = defaultdict(deque)
        self._waits: dict[tuple[str, str], list[_Wait]] = defaultdict(list)
        # Contacts that were told to wait before, and how many calls of the operation had passed by then.
        self._told_to_wait: dict[tuple[str, str, str | None], int] = {}
        self._passes: dict[tuple[str, str], int] = defaultdict(int)
        self._refused_at: dict[tuple[str, str], float] = {}
        self._written_after: dict[tuple[str, str], int] = defaultdict(int)
        self._told: dict[tuple[str, str], dict[str, bool]] = {}
        # When pages were taken that name somebody, without those for which a call was made.
        self._named_at: dict[tuple[str, str], deque[float]] = defaultdict(deque)
        # How many answers to the creation of a list were lost, on the way or with who had just got them; and the latest ones.
        self.lost_creations: dict[str, int] = defaultdict(int)
        self._created_at: dict[str, float] = {}
        self._failed_at: dict[str, float] = {}
        # Accounts of which no change has passed since a call failed.
        self._failing: set[str] = set()
        # Whether Cordial has a contact on these lists, and off these.
        self.is_so: Callable[[str, str, Mapping[str, bool]], bool] = lambda _account, _contact, _memberships: True
        self.rates: dict[str, float] = {}
        self.paused: set[str] = set()
        # Accounts for which a `resume` is on its way: it may be done at any moment.
        self.resuming: set[str] = set()
        # Not where an answer is lost between the wire and whoever waits for it.
        self.is_repeat_wrong = True
        self.calls = 0

    def began(self, call: Call) -> None:
        account = self._ports.get(call.port)
        if account is None:
            return
        self.calls += 1
        place = (call.life, account)
        if account in self.paused:
            self._say(call, f"R5: called for {account} after its pause was confirmed")
        self._check_rate(call, place)
        self._check_waits(call, place)
        contact = contact_of(call)
        if contact is None:
            return
        key = (*place, contact)
        other = self._in_flight.get(key)
        if other is not None:
            self._say(call, f"R5: two calls for {contact} in flight, call {other.number} since {other.began_at:.3f}")
        self._in_flight[key] = call
        if call.method in {"PUT", "POST"}:
            memberships = {name: value for name, value in _body(call).items() if isinstance(value, bool)}
            memberships.pop("suppressTriggers", None)
            # After a failure, what is confirmed is repeated to see whether others pass (docs/evidence.md): soon, or as the
            # first change after an outage.
            is_soon = CLOCK.now - self._failed_at.get(account, float("-inf")) < _PROOF_SECONDS
            is_proof = is_soon or account in self._failing
            is_named = self._take_mention(account, contact.split(":", 1)[1])
            if (
                self.is_repeat_wrong
                and not is_proof
                and not is_named
                and memberships
                and self._told.get((account, contact)) == memberships
                # A call of long ago that Cordial carries out late is made good.
                and self.is_so(account, contact, memberships)
            ):
                self._say(call, f"R6: {contact} is sent again what is confirmed already: {memberships}")
            self._told.pop((account, contact), None)

    def refused(self, port: int) -> None:
        """Note that a connection to Cordial was refused, for the service a failure like any other."""
        if (account := self._ports.get(port)) is not None:
            self._failed_at[account] = CLOCK.now
            self._failing.add(account)

    def ended(self, call: Call) -> None:
        account = self._ports.get(call.port)
        if account is None:
            return
        if (call.method, call.path) == ("POST", "/v2/accountlists"):
            if call.status is None:
                self.lost_creations[account] += 1
            else:
                self._created_at[account] = CLOCK.now
        place = (call.life, account)
        operation = operation_of(call)
        self._note_wait(call, account, operation)
        if call.status == _KEY_REFUSED:
            self._refused_at[place] = CLOCK.now
            self._written_after[place] = 0
        elif _is_success(call):
            self._refused_at.pop(place, None)
        if not _is_success(call) and not (call.method == "GET" and _is_taken(call)):
            self._failed_at[account] = CLOCK.now
            self._failing.add(account)
        contact = contact_of(call)
        if contact is None:
            return
        if self._in_flight.get((*place, contact)) is call:
            del self._in_flight[(*place, contact)]
        if call.method in {"PUT", "POST"} and _is_success(call):
            body = _body(call)
            memberships = {name: value for name, value in body.items() if isinstance(value, bool)}
            memberships.pop("suppressTriggers", None)
            self._told[account, contact] = memberships
            self._failing.discard(account)

    def _note_wait(self, call: Call, account: str, operation: str) -> None:
        """Note for how long an operation must not be called: by nobody, or for one contact, where others' calls pass."""
        place = (account, operation)
        if call.status == _THROTTLED:
            contact = contact_of(call)
            passes = self._told_to_wait.get((*place, contact))
            is_own = contact is not None and passes is not None and self._passes[place] > passes
            self._told_to_wait[(*place, contact)] = self._passes[place]
            self._waits[place].append(_Wait(CLOCK.now, CLOCK.now + _retry_after(call), call.number, contact, is_own))
        elif _is_taken(call):
            self._passes[place] += 1
            for wait in self._waits[place]:
                wait.passes += call.number > wait.number
                wait.is_own = wait.is_own or (wait.contact is not None and wait.passes >= _PASSES_THAT_TELL)

    def forget_told(self, account: str | None = None, users: "list[str] | None" = None) -> None:
        """Something new may be said: of these users, of all."""
        for told_account, contact in list(self._told):
            if account in {None, told_account} and (users is None or contact.split(":", 1)[1] in users):
                del self._told[told_account, contact]

    def named(self, account: str, users: list[str]) -> None:
        """Note that a page was taken that names these users: each is sent once for it."""
        for user in users:
            self._named_at[account, user].append(CLOCK.now)

    def _take_mention(self, account: str, user: str) -> bool:
        """Return whether a page lately taken names the user for which no call was made yet; this one is for it."""
        mentions = self._named_at[account, user]
        while mentions and CLOCK.now - mentions[0] > _FOLDING_SECONDS:
            mentions.popleft()
        if not mentions:
            return False
        mentions.popleft()
        return True

    def resumed(self, account: str) -> None:
        """Nobody waits any more for what Cordial asked for."""
        self.paused.discard(account)
        for place in [place for place in self._waits if place[0] == account]:
            del self._waits[place]
        for place_of in [place for place in self._refused_at if place[1] == account]:
            del self._refused_at[place_of]

    def crashed(self) -> None:
        """Take what was answered a moment ago for lost: nobody may have written it down."""
        for account, created_at in self._created_at.items():
            self.lost_creations[account] += CLOCK.now - created_at < _NOT_WRITTEN_SECONDS

    def new_life(self, *, after_crash: bool) -> None:
        """A process that is gone has nothing in flight; after a crash the next one may repeat what was not committed."""
        self._in_flight.clear()
        self._told.clear()
        if after_crash:
            # It may not have been written down yet.
            self._waits.clear()

    def _check_rate(self, call: Call, place: tuple[str, str]) -> None:
        rate = max(1, self.rates[place[1]])
        written = self._written[place[1]]
        written.append(CLOCK.now)
        while written[0] <= CLOCK.now - 1.0:
            written.popleft()
        if len(written) > rate:
            self._say(call, f"R8: {len(written)} calls within a second, {rate} are allowed")

    def _check_waits(self, call: Call, place: tuple[str, str]) -> None:
        if place[1] in self.resuming:
            return
        for wait in self._waits.get((place[1], operation_of(call)), ()):
            is_within = wait.told_at + _READING_SECONDS < CLOCK.now < wait.until - 0.001
            if is_within and (not wait.is_own or wait.contact == contact_of(call)):
                self._say(call, f"R8: called {wait.until - CLOCK.now:.2f} s before Retry-After was over")
        since = CLOCK.now - self._refused_at.get(place, float("-inf"))
        if 0.02 < since < 0.4:
            self._written_after[place] += 1
            if self._written_after[place] > 1:
                self._say(call, "R7: more than a probe went out with a key that was refused")

    def _say(self, call: Call, what: str) -> None:
        self._found.append(f"{what} ({call.method} {call.path}, call {call.number} at {CLOCK.now:.3f})")


def operation_of(call: Call) -> str:
    """Return the method and endpoint, without what is asked for."""
    parts = call.path.split("?", 1)[0].strip("/").split("/")
    return f"{call.method} {'/'.join(parts[:2])}" + ("/{}" * (len(parts) - 2))


def contact_of(call: Call) -> str | None:
    """Return the contact that a call is about, None for one about nobody."""
    path = call.path.split("?", 1)[0]
    if path.startswith("/v2/contacts/"):
        return unquote(path.removeprefix("/v2/contacts/"))
    if path == "/v2/contacts" and call.method == "POST":
        address = _body(call).get("channels", {}).get("email", {}).get("address")
        return f"email:{address}" if address else None
    return None


def _body(call: Call) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(call.body)
    except msgspec.DecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _is_success(call: Call) -> bool:
    """Tell whether the answer is Cordial's own, as opposed to a gateway's."""
    return call.status in {200, 201} and b"application/json" in call.answer


def _is_taken(call: Call) -> bool:
    """Tell whether Cordial has looked at what the call asks for, done or not."""
    return call.status in {200, 201, 400, 404, 409, 422} and b"application/json" in call.answer


def _retry_after(call: Call) -> float:
    for line in call.answer.split(b"\r\n\r\n", 1)[0].decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "retry-after":
            return float(value)
    return 0.0


class StoreChecks:
    """Looks at the store's file, as anybody may."""

    def __init__(self, found: list[str]) -> None:
        self._found = found
        # Each try, for what is sent again is signed anew, and which one was kept shows in the store alone.
        self.deliveries: dict[_Page, Delivery] = {}
        # What was answered 200, by its digest.
        self.acknowledged: set[tuple[str, bytes]] = set()
        self.forgotten: set[tuple[str, str]] = set()

    def look(self, database: Path) -> None:
        """Check what must hold at every moment."""
        with reading(database) as connection:
            self._found += [f"counters: {wrong}" for wrong in wrong_counters_of(connection)]
            accepted = _accepted(connection)
            missing = self.acknowledged - {(account, digest) for account, *_, digest, _ in accepted}
            if missing:
                self._found.append(f"R1: {len(missing)} pages that were answered 200 are gone")
            unfolded = connection.execute(
                "SELECT count(*) FROM piece WHERE wanted IS NOT NULL AND id > (SELECT piece_id FROM fold_position)"
            ).fetchone()[0]
            guarded = connection.execute("SELECT count(*) FROM guarded_piece").fetchone()[0]
            if not unfolded + guarded:
                self._compare(connection, self.model(accepted))

    def model(self, accepted: list[_Page]) -> OrderingModel:
        model = OrderingModel()
        for key in accepted:
            model.accept(self.deliveries[key])
        return model

    def expected(self, connection: sqlite3.Connection) -> dict[tuple[str, str], set[str]]:
        """Return who is to be on each list, by account and Heap's id of the segment."""
        accepted = _accepted(connection)
        model = self.model(accepted)
        return {(account, heap_id): model.on_list(account, heap_id) for account, heap_id, *_ in accepted}

    def _compare(self, connection: sqlite3.Connection, model: OrderingModel) -> None:
        held = {
            ((account, heap_id), contact.split(":", 1)[1]): bool(wanted)
            for account, heap_id, contact, wanted in connection.execute(
                "SELECT account.name, heap_id, contact, wanted FROM member JOIN segment ON segment.id = segment_id "
                "JOIN account ON account.id = member.account_id"
            )
        }
        for key in held.keys() | model.members.keys():
            (account, _), user = key
            if (account, user) in self.forgotten:
                continue
            wish = model.members.get(key)
            wanted = wish is not None and wish.wanted
            if held.get(key, False) != wanted:
                self._found.append(f"R4: {key} is {held.get(key)} in the ledger and {wanted} in the model")


def _accepted(connection: sqlite3.Connection) -> list[_Page]:
    return connection.execute(
        "SELECT account.name, heap_id, task_id, page_number, digest, received_at_ms FROM delivery JOIN sync ON sync.id = sync_id "
        "JOIN segment ON segment.id = sync.segment_id JOIN account ON account.id = segment.account_id ORDER BY delivery.id"
    ).fetchall()


@contextlib.contextmanager
def reading(database: Path) -> Any:
    """Open the store's file to look at it: for all looks of a moment, since each opening reads the schema."""
    with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        connection.execute("BEGIN")
        yield connection


# What is owed yet, in words, and how to find it.
OWED = {
    "changes to send": "SELECT count(*) FROM member WHERE state IN (1, 2)",
    "users to fold": "SELECT count(*) FROM piece WHERE wanted IS NOT NULL AND id > (SELECT piece_id FROM fold_position)",
    "pieces to judge": "SELECT count(*) FROM guarded_piece",
    "syncs that have not drained": "SELECT count(*) FROM sync WHERE drained_at_ms IS NULL",
    "imports under way": "SELECT count(*) FROM import_part",
    "erasures under way": "SELECT count(*) FROM erasure",
}


def owed(connection: sqlite3.Connection) -> dict[str, int]:
    """Return what is owed yet."""
    counted = {what: connection.execute(query).fetchone()[0] for what, query in OWED.items()}
    return {what: number for what, number in counted.items() if number}
