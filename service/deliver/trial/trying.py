"""One trial of one account: does what Cordial's documents leave open, with test contacts that an operator names (R14).

It works on lists of its own, through the account's line, so that limits and pauses hold for it as for all calls. It takes
the contacts off its lists again; it deletes neither lists nor contacts, and says which it leaves. What it sends as a file is
made by the same functions as an import's.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import structlog

from service.config.settings import AccountSettings
from service.deliver.cordial import requests
from service.deliver.cordial.answers import Answer, AnswerKind
from service.deliver.cordial.requests import Request, contact_requests
from service.deliver.imports.files import SmallFile, SmallFiles
from service.deliver.imports.judging import Job, JobStatus, read_job, read_job_id
from service.deliver.imports.request import create_import
from service.deliver.line import AccountLine
from service.errors import in_words
from service.model.imports import DELIMITER, Strategy, status_cell
from service.model.trial import TrialOutcome, TrialPoint, TrialProgress, TrialResult, TrialState
from service.store.port import Trials

log = structlog.get_logger()

_MAX_LIST_NAME = 128
_NONE, _SUBSCRIBED = "none", "subscribed"
_NO_PUBLIC_URL = "no public_url is set, so Cordial can fetch no file"
_PERMISSIONS = {
    "GET accountlists": "Get lists",
    "POST accountlists": "Add a list",
    "GET accountlists/id": "Get a single list",
    "GET accountlists/count": "Get a single list",
    "PUT accountlists/id": 'Update a list (only for on_segment_rename = "rename")',
    "POST contacts": "Add a contact",
    "PUT contacts": "Update a contact",
    "GET contacts": "Get a single contact",
    "GET accountcontactattributes": "Get attributes",
    "POST contactimports": "Add a contact import job",
    "GET jobs": "Get jobs",
    "GET jobs/id": "Get a single job",
}
_REFUSED = {"unauthorized", "forbidden"}


class Timings(msgspec.Struct, frozen=True):
    """How long to wait for what, in seconds.

    `call`: for the answer to one call, its turn included. `look`: between two looks. `prompt`: a write that is read within
    this is read promptly; `visible`: for so long it is looked for. `settle`: after a file took effect, for so long a
    subscription may still follow it. `job`: for the end of a job; `prompt_job`: one that ends within this ends promptly.
    """

    call: float = 120.0
    look: float = 0.5
    prompt: float = 5.0
    visible: float = 60.0
    settle: float = 5.0
    job: float = 1_800.0
    prompt_job: float = 900.0


class Subjects(NamedTuple):
    """The test contacts, by address: `contacts` may be unknown to Cordial; `subscribed` is subscribed there, or empty."""

    contacts: Sequence[str]
    subscribed: str = ""

    @property
    def addresses(self) -> list[str]:
        """The addresses of all test contacts."""
        return [*self.contacts, *filter(None, [self.subscribed])]


class _CannotTellError(Exception):
    """A point could not be tried; the message says why."""


class _StoppedError(Exception):
    """The trial cannot go on; the message says why."""


class _Seen(NamedTuple):
    outcome: TrialOutcome
    detail: str


def _expected(detail: str) -> _Seen:
    return _Seen(TrialOutcome.AS_DOCUMENTED, detail)


def _otherwise(detail: str) -> _Seen:
    return _Seen(TrialOutcome.OTHERWISE, detail)


class _Contact(NamedTuple):
    """A contact as Cordial shows it: how its e-mail channel is subscribed, and the lists it is on."""

    status: str
    lists: frozenset[str]


class _List(NamedTuple):
    id: str
    name: str


class Trial:
    """One trial; `run` makes it, `progress` tells how far it is."""

    def __init__(
        self,
        settings: AccountSettings,
        subjects: Subjects,
        store: Trials,
        line: AccountLine,
        files: SmallFiles,
        *,
        timings: Timings,
    ) -> None:
        self._settings = settings
        self._subjects = subjects
        self._store = store
        self._line = line
        self._files = files
        self._timings = timings
        self._stamp = f"{datetime.now(UTC):%Y%m%d%H%M%S}"
        self._state = TrialState.RUNNING
        self._trying: TrialPoint | None = None
        self._problem = ""
        self._lists: list[_List] = []
        self._created: list[str] = []
        self._touched: set[str] = set()
        self._allowed: set[str] = set()
        self._refused: dict[str, int | None] = {}
        self._has_limits = False
        self._job_seconds: list[tuple[float | None, float]] = []

    @property
    def progress(self) -> TrialProgress:
        """How far it is, and what it leaves behind."""
        names = [each.name for each in self._lists]
        return TrialProgress(self._state, self._trying, self._problem, names, list(self._created))

    async def run(self) -> None:
        """Try every point, keep what is seen, and take the contacts off the lists again."""
        log.info("trial.begun", account=self._settings.name)
        try:
            await self._run()
            self._state = TrialState.DONE
        except _StoppedError as error:
            self._state, self._problem = TrialState.STOPPED, str(error)
        except asyncio.CancelledError:
            self._state, self._problem = TrialState.STOPPED, "the service stopped or changed the account; try again"
            raise
        except Exception:
            self._state, self._problem = TrialState.STOPPED, "a fault in the service; see its log"
            log.exception("trial.failed", account=self._settings.name)
        finally:
            self._trying = None
            log.info("trial.ended", account=self._settings.name, state=self._state.value, problem=self._problem)

    async def _run(self) -> None:
        stopped: _StoppedError | None = None
        try:
            await self._try_lists()
            await self._try_contacts()
            await self._try_files()
            await self._try(TrialPoint.PERMISSIONS, self._permissions)
            await self._try(TrialPoint.LIMITS_TOLD, self._limits_told)
        except _StoppedError as error:
            stopped = error
        if self._touched and self._lists:
            await self._clean_up()
        if stopped is not None:
            raise stopped

    # Lists

    async def _try_lists(self) -> None:
        plain = f"heap-cordial-trial-{self._stamp}"
        await self._call(requests.all_lists())
        if await self._create_list(plain) != plain:
            raise _StoppedError("Cordial did not create a list, so nothing could be tried")
        await self._try(TrialPoint.LIST_NAME_UNDERSCORE, lambda: self._list_name(plain.replace("-", "_")))
        await self._try(TrialPoint.LIST_NAME_LENGTH, lambda: self._list_name(f"{plain}-".ljust(_MAX_LIST_NAME, "x")))

    async def _list_name(self, name: str) -> _Seen:
        made = await self._create_list(name)
        return _expected("created as asked") if made == name else _otherwise(made)

    async def _create_list(self, name: str) -> str:
        """Create a list; return the name it got, or why there is none."""
        answer = await self._call(requests.create_list(name))
        list_id = answer.body.get("id") if answer.kind is AnswerKind.DONE and isinstance(answer.body, dict) else None
        if list_id is None:
            return f"refused: {self._words(answer)}"
        read = await self._call(requests.get_list(str(list_id)))
        found = read.body.get("name") if read.kind is AnswerKind.DONE and isinstance(read.body, dict) else name
        self._lists.append(_List(str(list_id), str(found)))
        return str(found)

    # Contacts and calls

    async def _try_contacts(self) -> None:
        await self._try(TrialPoint.READ_AFTER_WRITE, self._read_after_write)
        await self._try(TrialPoint.UNKNOWN_CONTACT, self._unknown_contact)
        await self._try(TrialPoint.UNKNOWN_LIST, self._unknown_list)
        await self._try(TrialPoint.CALL_CREATES, self._call_creates)
        await self._try(TrialPoint.ODD_CHARACTERS, self._odd_characters)
        await self._try(TrialPoint.TWO_LISTS, self._two_lists)
        await self._try(TrialPoint.RENAMED_LIST, self._renamed_list)

    async def _read_after_write(self) -> _Seen:
        address, name = self._subjects.contacts[0], self._lists[0].name
        for each in self._subjects.addresses:
            if await self._read(each) is None:
                await self._write(each, {name: True})
        await self._write(address, {name: False})
        await self._until(address, lambda contact: name not in contact.lists)
        await self._write(address, {name: True})
        seconds = await self._until(address, lambda contact: name in contact.lists)
        counted = await self._call(requests.count_list(self._lists[0].id))
        count = (
            counted.body.get("count") if counted.kind is AnswerKind.DONE and isinstance(counted.body, dict) else None
        )
        detail = f"the contact shows it after {seconds:.1f} s; the list then counts {count}"
        return _expected(detail) if seconds <= self._timings.prompt else _otherwise(detail)

    async def _unknown_contact(self) -> _Seen:
        stranger = self._address("unknown")
        answer = await self._put(stranger, {self._lists[0].name: False})
        if answer.kind is AnswerKind.DONE:
            created = await self._read(stranger) is not None
            if created:
                self._created.append(stranger)
            return _otherwise("accepted, and the contact was created" if created else "accepted without effect")
        if answer.kind is AnswerKind.NOT_FOUND:
            return _expected(f"refused: {self._words(answer)}")
        return _otherwise(f"refused without the documented mark: {self._words(answer)}")

    async def _unknown_list(self) -> _Seen:
        name = f"heap-cordial-trial-{self._stamp}-none"
        answer = await self._put(self._subjects.contacts[0], {name: True})
        if answer.kind is AnswerKind.DONE:
            return _otherwise("accepted without an error")
        if answer.unknown_keys == (name,):
            return _expected("refused, with the list's name")
        return _otherwise(f"refused without saying which list: {self._words(answer)}")

    async def _call_creates(self) -> _Seen:
        self._need_creation()
        created = await self._create(self._address("call", "+"))
        if created is None:
            raise _CannotTellError("Cordial did not create the contact")
        detail = f'the new contact has the status "{created.status}"'
        return _expected(detail) if created.status == _NONE else _otherwise(detail)

    async def _odd_characters(self) -> _Seen:
        self._need_creation()
        name = self._lists[0].name
        plus, slash = self._address("call", "+"), self._address("slash", "/")
        found: dict[str, bool] = {}
        if await self._read(plus) is not None or await self._create(plus) is not None:
            found["+"] = await self._finds(plus, plus, name)
            found["upper case"] = await self._finds(plus.upper(), plus, name)
        try:
            is_made = await self._create(slash) is not None
        except _CannotTellError as error:
            is_made = False
            refusal = f"; no contact with / can be created: {error}"
        else:
            refusal = ""
        if is_made:
            found["/"] = await self._finds(slash, slash, name)
        if not found:
            raise _CannotTellError(f"Cordial created no such contact{refusal}")
        lost = [what for what, is_found in found.items() if not is_found]
        detail = (f"not found with {', '.join(lost)}" if lost else f"found with {', '.join(found)}") + refusal
        return _otherwise(detail) if lost or refusal else _expected(detail)

    async def _two_lists(self) -> _Seen:
        if len(self._lists) < 2:  # noqa: PLR2004  two lists are what is tried
            raise _CannotTellError("Cordial created one list only")
        address, names = self._subjects.contacts[0], [each.name for each in self._lists[:2]]
        for name in names:
            await self._take_off([address], name)
        await self._write(address, dict.fromkeys(names, True))
        try:
            await self._until(address, lambda contact: set(names) <= contact.lists)
        except _CannotTellError:
            shown = set(names) & (await self._shown(address)).lists
            return _otherwise(f"accepted, and the contact is on {len(shown)} of 2 lists")
        return _expected("the contact is on both")

    async def _renamed_list(self) -> _Seen:
        address, renamed = self._subjects.contacts[0], self._lists[-1]
        await self._write(address, {renamed.name: True})
        await self._until(address, lambda contact: renamed.name in contact.lists)
        new_name = f"heap-cordial-trial-{self._stamp}-renamed"
        answer = await self._call(requests.rename_list(renamed.id, new_name))
        if answer.kind is not AnswerKind.DONE:
            raise _CannotTellError(f"Cordial did not rename the list: {self._words(answer)}")
        self._lists[-1] = _List(renamed.id, new_name)
        faults: list[str] = []
        try:
            await self._until(address, lambda contact: new_name in contact.lists)
        except _CannotTellError:
            faults.append("its member is no longer on it")
        if (await self._put(address, {new_name: True})).kind is not AnswerKind.DONE:
            faults.append("Cordial does not accept the new name")
        if (await self._put(address, {renamed.name: True})).kind is AnswerKind.DONE:
            faults.append("the old name is still accepted")
        return _otherwise(", ".join(faults)) if faults else _expected("members stay, and only the new name is accepted")

    # Files

    async def _try_files(self) -> None:
        await self._try(TrialPoint.FILE_UPDATES, lambda: self._file(Strategy.UPDATE_ONLY))
        await self._try(TrialPoint.FILE_CREATES, lambda: self._file(Strategy.INSERT_ONLY))
        await self._try(TrialPoint.JOB_WAIT, self._job_wait)

    async def _file(self, strategy: Strategy) -> _Seen:
        """Send a file about a contact with the status "none", one that is subscribed, and one that is unknown."""
        if not self._settings.public_url:
            raise _CannotTellError(_NO_PUBLIC_URL)
        creates = strategy is Strategy.INSERT_ONLY
        if creates:
            self._need_creation()
        name, stranger = self._lists[0].name, self._address("file", "+")
        before = await self._subjects_before()
        await self._take_off(before, name)
        job = await self._job(strategy, [*before, stranger], name)
        if creates:
            self._created.append(stranger)
            self._touched.add(stranger)
        if job.status is JobStatus.FAILED:
            raise _CannotTellError("Cordial says the job failed")
        joined = [stranger] if creates else list(before)
        faults = [fault for address in joined if (fault := await self._joining_fault(address, name))]
        await asyncio.sleep(self._timings.settle)
        faults += await self._subscription_faults(before)
        new = await self._read(stranger)
        if creates and new is not None and new.status != _NONE:
            faults.append(f'the new contact has the status "{new.status}"')
        if not creates and new is not None:
            self._created.append(stranger)
            faults.append("the unknown contact was created")
        kinds = "none and subscribed" if self._subjects.subscribed else "none"
        return _otherwise("; ".join(faults)) if faults else _expected(f"statuses stay as they were ({kinds})")

    async def _subjects_before(self) -> dict[str, _Contact]:
        before = {address: await self._shown(address) for address in self._subjects.addresses}
        if all(contact.status != _NONE for contact in before.values()):
            raise _CannotTellError('none of the contacts has the status "none" in Cordial; name one that has')
        if self._subjects.subscribed and before[self._subjects.subscribed].status != _SUBSCRIBED:
            raise _CannotTellError(
                "the contact given as subscribed is not subscribed in Cordial, so nothing is known of subscribed contacts; subscribe "
                "it in Cordial, then try again"
            )
        return before

    async def _take_off(self, addresses: Iterable[str], name: str) -> None:
        for address in addresses:
            await self._write(address, {name: False})
            await self._until(address, lambda contact: name not in contact.lists)

    async def _subscription_faults(self, before: Mapping[str, _Contact]) -> list[str]:
        now = {address: (await self._shown(address)).status for address in before}
        return [
            f'a contact with the status "{contact.status}" has "{now[address]}" now'
            for address, contact in before.items()
            if now[address] != contact.status
        ]

    async def _joining_fault(self, address: str, name: str) -> str:
        try:
            await self._until(address, lambda contact: name in contact.lists)
        except _CannotTellError:
            return "the job ended, and a contact is not on the list"
        return ""

    async def _job(self, strategy: Strategy, addresses: Sequence[str], list_name: str) -> Job:
        """Have Cordial carry out a file that puts these on a list; return the job once it is over."""
        rows = (f"{address}{status_cell(strategy)}{DELIMITER}1\n" for address in addresses)
        file, file_name = SmallFile(self._settings.name, "".join(rows)), secrets.token_urlsafe(32)
        try:
            request = create_import(
                self._settings,
                strategy,
                [list_name],
                import_name=f"heap-cordial trial {self._stamp} {strategy.value}",
                file_name=file_name,
            )
        except (OSError, LookupError) as error:
            raise _CannotTellError(f"the password of import files cannot be read: {in_words(error)}") from error
        with self._files.offered(file_name, file):
            began = time.monotonic()
            answer = await self._call(request)
            job_id, reason = read_job_id(answer.body) if answer.kind is AnswerKind.DONE else ("", self._words(answer))
            if not job_id:
                raise _CannotTellError(f"Cordial did not accept the import: {self._clean(reason)}")
            fetched_seconds = None
            while time.monotonic() - began < self._timings.job:
                if file.fetched.is_set() and fetched_seconds is None:
                    fetched_seconds = time.monotonic() - began
                seen = await self._call(requests.get_job(job_id))
                if seen.kind is AnswerKind.DONE and (job := read_job(seen.body)).is_over:
                    self._job_seconds.append((fetched_seconds, time.monotonic() - began))
                    return job
                await asyncio.sleep(self._timings.look)
        self._job_seconds.append((fetched_seconds, time.monotonic() - began))
        fetched = "fetched its file" if file.fetched.is_set() else "not fetched its file"
        raise _CannotTellError(f"after {self._timings.job / 60:.0f} minutes the job has {fetched} and is not over")

    async def _job_wait(self) -> _Seen:
        if not self._job_seconds:
            raise _CannotTellError("no job ran")
        fetched, seconds = max(self._job_seconds, key=lambda each: each[1])
        after = f"fetched after {fetched:.0f} s, " if fetched is not None else ""
        detail = f"{after}over after {seconds:.0f} s"
        return _expected(detail) if seconds < self._timings.prompt_job else _otherwise(detail)

    # What all of it showed

    async def _permissions(self) -> _Seen:
        await self._call(requests.contact_attributes())
        if self._settings.public_url:
            await self._call(requests.list_imports(1, 1))
        refused = sorted(set(self._refused) - self._allowed)
        if refused:
            return _otherwise(f"Cordial refuses: {', '.join(refused)}")
        return _expected(f"granted: {', '.join(sorted(self._allowed))}")

    async def _limits_told(self) -> _Seen:
        return (
            _expected("shown in successful answers")
            if self._has_limits
            else _otherwise("not shown while calls succeed")
        )

    # Steps

    async def _try(self, point: TrialPoint, work: Callable[[], Awaitable[_Seen]]) -> None:
        self._trying = point
        try:
            seen = await work()
        except _CannotTellError as error:
            seen = _Seen(TrialOutcome.NOT_TRIED, str(error))
        result = TrialResult(point, seen.outcome, self._clean(seen.detail), datetime.now(UTC))
        await self._store.record(self._settings.name, self._settings.cordial_base_url, [result])

    async def _call(self, request: Request) -> Answer:
        try:
            async with asyncio.timeout(self._timings.call):
                answer = await self._line.call(request, forgive_forbidden=True)
        except TimeoutError:
            reason = self._line.status().reason or "Cordial does not answer"
            raise _StoppedError(f"no answer within {self._timings.call:.0f} s: {reason}") from None
        permission = _PERMISSIONS[request.operation]
        if answer.reason in _REFUSED:
            self._refused[permission] = answer.status
        elif answer.kind is not AnswerKind.UNAVAILABLE:
            self._allowed.add(permission)
        self._has_limits |= answer.kind is AnswerKind.DONE and answer.limits.remaining is not None
        return answer

    async def _read(self, address: str) -> _Contact | None:
        """Return a contact as Cordial shows it, None if it knows none."""
        answer = await self._call(requests.get_contact(f"email:{address}"))
        if answer.kind is AnswerKind.NOT_FOUND:
            return None
        if answer.kind is not AnswerKind.DONE or answer.contact is None:
            raise _CannotTellError(f"a contact cannot be read: {self._words(answer)}")
        lists = answer.contact.list_names
        status = _status_of(answer.body)
        if not status:
            raise _CannotTellError("Cordial's answer does not show how a contact is subscribed")
        return _Contact(status, frozenset() if lists is None else lists)

    async def _shown(self, address: str) -> _Contact:
        contact = await self._read(address)
        if contact is None:
            raise _CannotTellError("Cordial does not know a contact that was named, and did not create it")
        return contact

    async def _put(self, address: str, memberships: dict[str, bool]) -> Answer:
        """Set memberships of a contact that exists; return whatever Cordial answers."""
        self._touched.add(address.lower())
        return await self._call(requests.update_contact(self._settings, f"email:{address}", memberships))

    async def _write(self, address: str, memberships: dict[str, bool]) -> None:
        """Set memberships of a contact as the service does, creating it where the account is set to."""
        was_unknown = any(memberships.values()) and await self._read(address) is None
        self._touched.add(address)
        # By e-mail address it is one request, whether it creates or not.
        [request] = contact_requests(self._settings, f"email:{address}", memberships)
        answer = await self._call(request)
        if answer.kind is not AnswerKind.DONE:
            raise _CannotTellError(f"a contact cannot be written: {self._words(answer)}")
        if was_unknown:
            self._created.append(address)

    async def _create(self, address: str) -> _Contact | None:
        """Create a contact on the first list, and return it as Cordial shows it."""
        await self._write(address, {self._lists[0].name: True})
        await self._until(address, lambda contact: self._lists[0].name in contact.lists)
        return await self._read(address)

    async def _finds(self, spelled: str, address: str, name: str) -> bool:
        """Tell whether a contact is found and changed by an address spelled like that."""
        await self._write(address, {name: True})
        await self._until(address, lambda contact: name in contact.lists)
        if (await self._put(spelled, {name: False})).kind is not AnswerKind.DONE:
            return False
        try:
            await self._until(address, lambda contact: name not in contact.lists)
        except _CannotTellError:
            return False
        return True

    async def _until(self, address: str, condition: Callable[[_Contact], bool]) -> float:
        """Return after how many seconds a contact shows what it should."""
        began = time.monotonic()
        while True:
            contact = await self._read(address)
            if contact is not None and condition(contact):
                return time.monotonic() - began
            if time.monotonic() - began > self._timings.visible:
                raise _CannotTellError(f"a read does not show the write within {self._timings.visible:.0f} s")
            await asyncio.sleep(self._timings.look)

    async def _clean_up(self) -> None:
        """Take everybody off the lists; that of all is done even where the trial was stopped."""
        left = set()
        for address in sorted(self._touched):
            # One list a call: that one call sets several is a thing to be tried.
            for each in self._lists:
                off = requests.update_contact(self._settings, f"email:{address}", {each.name: False})
                if (await self._call(off)).kind not in {AnswerKind.DONE, AnswerKind.NOT_FOUND}:
                    left.add(address)
        if left:
            self._problem = f"{len(left)} contacts could not be removed from the trial's lists; remove them in Cordial"

    def _need_creation(self) -> None:
        if not self._settings.create_contacts:
            raise _CannotTellError("create_contacts = false: the service creates no contact")

    def _address(self, what: str, mark: str = "+") -> str:
        """Return an address of the first contact's own mailbox that nobody has."""
        local, _, domain = self._subjects.contacts[0].rpartition("@")
        return f"{local}{mark}heap-cordial-{what}-{self._stamp}@{domain}"

    def _words(self, answer: Answer) -> str:
        return self._clean(answer.message or answer.reason)

    def _clean(self, text: str) -> str:
        """Return the text without anybody's address."""
        for address in sorted({*self._subjects.addresses, *self._touched, *self._created}, key=len, reverse=True):
            text = text.replace(address, "…")
        return text


def _status_of(body: Any) -> str:
    """Return how a contact's e-mail channel is subscribed; empty where the document does not show it."""
    for key in ("channels", "email"):
        body = body.get(key) if isinstance(body, dict) else None
    status = body.get("subscribeStatus") if isinstance(body, dict) else None
    return status if isinstance(status, str) else ""
