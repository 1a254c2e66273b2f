"""Cordial's side of an account, asked only by requests that read: key, permissions, names, clock."""

import base64
import time
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import aiohttp

from service.clock import wall_ms
from service.commands.checks.findings import Findings
from service.commands.checks.lists import CordialNames, check_lists
from service.commands.outgoing import local_address_towards
from service.config.settings import AccountSettings
from service.deliver.cordial import requests
from service.deliver.cordial.answers import Answer, AnswerKind
from service.deliver.cordial.client import fault_in_words
from service.deliver.cordial.evidence import read_answer
from service.deliver.cordial.requests import Request
from service.model.lists import Segment

# Cordial's `Date` has whole seconds, and the answer is a moment on its way.
_LEAST_CLOCK_ERROR_SECONDS = 2.0
_REFUSED = {"unauthorized", "forbidden"}
# Reserved for documentation: nobody has it, so the answer tells of the permission alone.
_NOBODY = "email:heap-cordial-check@example.invalid"
_ATTRIBUTES = "Get attributes"
_WRITES = ("Add a list", "Add a contact", "Update a contact")


_UNTESTED = (
    "files are used although no trial has shown that they subscribe nobody; run `heap-cordial trial`, then "
    "remove the key"
)


class _Asked(NamedTuple):
    """An answer of Cordial's and the time it says it is, as HTTP writes it."""

    answer: Answer
    date: str


async def check_account(account: AccountSettings, segments: Iterable[Segment]) -> Findings:
    """Ask Cordial whether it serves the account; `segments` are those that the store knows of it."""
    where = f"accounts.{account.name}"
    try:
        key = account.cordial_api_key.read()
    except (OSError, LookupError):
        return Findings()  # one of the faults of secrets, then
    timeout = aiohttp.ClientTimeout(total=account.request_timeout_seconds)
    headers = {"Authorization": f"Basic {base64.b64encode(f'{key}:'.encode()).decode()}"}
    try:
        async with aiohttp.ClientSession(f"{account.cordial_base_url}/", headers=headers, timeout=timeout) as session:
            return await _check(session, where, account, segments)
    except TimeoutError:
        return Findings(faults=[f"{where}.cordial_base_url: {account.cordial_base_url} did not answer in time"])
    except aiohttp.ClientError as error:
        fault = f"{where}.cordial_base_url: {account.cordial_base_url} cannot be reached: {fault_in_words(error)}"
        return Findings(faults=[fault])


async def _check(
    session: aiohttp.ClientSession, where: str, account: AccountSettings, segments: Iterable[Segment]
) -> Findings:
    findings = Findings()
    lists = await _ask(session, requests.all_lists())
    findings.faults += _clock_faults(where, account, lists.date)
    asked = {"Get lists": lists.answer}
    if lists.answer.kind in {AnswerKind.DONE, AnswerKind.NOT_FOUND} or lists.answer.reason in _REFUSED:
        list_ids = list(_list_names(lists.answer))
        asked["Get a single list"] = (await _ask(session, requests.get_list(list_ids[0] if list_ids else "0"))).answer
        asked["Get a single contact"] = (await _ask(session, requests.get_contact(_NOBODY))).answer
    if account.public_url:
        asked["Get a single job"] = (await _ask(session, requests.get_job("000000000000000000000000"))).answer
        asked["Get jobs"] = (await _ask(session, requests.list_imports(1, 1))).answer
    refused = [permission for permission, answer in asked.items() if answer.reason in _REFUSED]
    if len(refused) == len(asked):
        findings.faults.append(_refused_altogether(where, account, lists.answer))
        return findings
    findings.faults += [
        f"{where}.cordial_api_key: Cordial answers {asked[permission].status}; the key lacks the permission “{permission}”"
        for permission in refused
    ]
    if not refused and lists.answer.kind not in {AnswerKind.DONE, AnswerKind.NOT_FOUND}:
        # Cordial's contract answers 404 where an account has no list yet; nothing else is an answer of Cordial's.
        findings.faults.append(_other_answer(where, account, lists.answer))
        return findings
    attributes = (await _ask(session, requests.contact_attributes())).answer
    granted = {*asked} - {*refused} | ({_ATTRIBUTES} if attributes.kind is AnswerKind.DONE else set())
    findings.notes.append(f"{where}: Cordial accepts the key and this host's address; granted: {_listed(granted)}")
    writes = (*_WRITES, "Add a contact import job") if account.public_url else _WRITES
    findings.notes.append(f"{where}: not checked, because that would write: {_listed(writes)}")
    if account.public_url and account.bulk_untested:
        findings.warnings.append(f"{where}.bulk_untested: {_UNTESTED}")
    findings.add(_check_names(where, account, lists.answer, attributes, segments))
    return findings


def _check_names(
    where: str, account: AccountSettings, lists: Answer, attributes: Answer, segments: Iterable[Segment]
) -> Findings:
    findings = Findings()
    rows = attributes.body if attributes.kind is AnswerKind.DONE and isinstance(attributes.body, list) else None
    if rows is None:
        findings.notes.append(
            f"{where}: contact attributes cannot be read (permission “{_ATTRIBUTES}”), so check cannot compare "
            "list names and identify_by with them"
        )
        known = None
    else:
        rows = [row for row in rows if isinstance(row, dict)]
        known = frozenset(str(row.get("key") or row.get("name")) for row in rows)
        findings.faults += _identity_faults(where, account, {str(row.get("key")) for row in rows if row.get("unique")})
    if lists.reason not in _REFUSED:
        findings.add(check_lists(account, segments, CordialNames(_list_names(lists), known)))
    return findings


async def _ask(session: aiohttp.ClientSession, request: Request) -> _Asked:
    path = f"{requests.VERSION_PATH[1:]}{request.path}"
    async with session.get(path, allow_redirects=False) as response:
        answer = read_answer(request, response.status, response.headers, await response.read(), wall_ms())
        return _Asked(answer, response.headers.get("Date", ""))


def _list_names(answer: Answer) -> dict[str, str]:
    rows = answer.body if answer.kind is AnswerKind.DONE else None
    rows = [rows] if isinstance(rows, dict) else rows or []
    return {str(row.get("id")): str(row.get("name")) for row in rows if isinstance(row, dict)}


def _refused_altogether(where: str, account: AccountSettings, answer: Answer) -> str:
    own = local_address_towards(account.cordial_base_url)
    address = f" ({own} on this host's side; behind NAT it is a different one)" if own else ""
    return (
        f"{where}.cordial_api_key: Cordial answers {answer.status}; the key is wrong, or this host's address{address} is not "
        "on the key's IP allow-list; Cordial's answer is the same for both (Cordial: Administration > API keys)"
    )


def _other_answer(where: str, account: AccountSettings, answer: Answer) -> str:
    if answer.kind is AnswerKind.THROTTLED:
        return f"{where}: Cordial answers 429: its rate limit is reached. Check again in a minute"
    return (
        f"{where}.cordial_base_url: {account.cordial_base_url} does not answer as Cordial does to a request for lists: "
        f"{answer.message or f'HTTP {answer.status}'}"
    )


def _clock_faults(where: str, account: AccountSettings, date: str) -> list[str]:
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return []
    ahead = time.time() - theirs
    if abs(ahead) <= max(_LEAST_CLOCK_ERROR_SECONDS, account.timestamp_tolerance_seconds / 2):
        return []
    way = "ahead of" if ahead > 0 else "behind"
    return [
        (
            f"clock: this host is {abs(ahead):.0f} s {way} Cordial's; set it (NTP): Heap's signatures are accepted within "
            f"{account.timestamp_tolerance_seconds:g} s ({where}.timestamp_tolerance_seconds)"
        )
    ]


def _identity_faults(where: str, account: AccountSettings, unique: set[str]) -> list[str]:
    if account.identify_by in {"email", "auto", *unique}:
        return []
    known = ", ".join(sorted(unique)) or "none"
    return [f'{where}.identify_by: "{account.identify_by}" is not a unique attribute in Cordial. It has: {known}']


def _listed(permissions: Iterable[str]) -> str:
    return ", ".join(sorted(permissions))
