"""The running service: is it there, can the world reach it, and does a signed page travel through it."""

import time
import uuid
from typing import Any

import aiohttp
import msgspec

from service.commands.checks.findings import Findings
from service.commands.client import is_alive, local_connector, local_url
from service.commands.same_store import doubt_about_store
from service.config.settings import AccountSettings, Settings
from service.errors import ConfigurationError
from service.model.conditions import CATALOGUE, Severity, in_two
from service.model.deliveries import Action
from service.receive.signature import HEADER_NAME, sign

_TIMEOUT_SECONDS = 10.0
_OK = 200
_FORBIDDEN = 403
_NOT_READY = 503
# Reserved for examples (RFC 2606): nobody has it, and nothing of the page is kept.
_SAMPLE_USER = "heap-cordial-sample@example.com"
_SAMPLE_SEGMENT_ID = "heap-cordial-check"
_SAMPLE_SEGMENT = "heap-cordial check"


async def check_service(settings: Settings, url: str) -> Findings:
    """Send a signed sample page of each account through the service at `url`, as a dry run, and look for it from outside."""
    findings = Findings()
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
    try:
        # Elsewhere than here, the service is known as everybody knows it: by a certificate for its name.
        connector = local_connector(settings.server) if url == local_url(settings.server) else None
    except ConfigurationError:
        return findings  # one of the faults of the certificate, then
    async with (
        aiohttp.ClientSession(timeout=timeout, connector=connector) as local,
        aiohttp.ClientSession(timeout=timeout) as session,
    ):
        if await is_alive(local, url):
            if url == local_url(settings.server) and (doubt := await doubt_about_store(settings)):
                findings.faults.append(f"store.path: {doubt.text}")
            findings.add(await _check_readiness(local, url))
            for account in settings.accounts.values():
                findings.add(await _check_sample(local, url, account))
        else:
            findings.notes.append(
                f"service: not running at {url}; start it with `heap-cordial serve`, then `heap-cordial check` tries a signed page "
                "through it"
            )
            # Its proxy has nothing to forward to.
            return findings
        for account in settings.accounts.values():
            if account.public_url:
                findings.add(await _check_public_url(session, account))
    return findings


async def _check_readiness(session: aiohttp.ClientSession, url: str) -> Findings:
    try:
        async with session.get(f"{url}/readyz") as answer:
            status, document = answer.status, _decode(await answer.text(errors="replace"))
    except (aiohttp.ClientError, TimeoutError):
        return Findings()  # no answer to the sample either, then
    if status != _NOT_READY:
        # What has stopped, an account for example, may pass every other check by now.
        critical = [
            kind
            for name, kind in CATALOGUE.items()
            if kind.severity is Severity.CRITICAL and name in document.get("degraded", ())
        ]
        return Findings(
            warnings=[f"service: {in_two(kind.meaning)[0]}; see `heap-cordial conditions`" for kind in critical]
        )
    why = document.get("error", {}).get("message", "not ready")
    return Findings(faults=[f"service: it accepts no pages now: {why}; see `heap-cordial conditions`"])


async def _check_sample(session: aiohttp.ClientSession, url: str, account: AccountSettings) -> Findings:
    where = f"accounts.{account.name}"
    webhook = f"{url}/webhooks/heap/{account.name}"
    findings = Findings()
    for reference in account.heap_secrets:
        try:
            secret = reference.read()
        except (OSError, LookupError):
            continue  # one of the faults of secrets, then
        status, document = await _try_page(session, webhook, secret, _sample_page(account))
        if status == _OK and document.get("status") == "dry_run":
            if not findings.notes:
                findings.notes += _sample_notes(where, document)
            continue
        message = document.get("error", {}).get("message", "")
        hint = "; it has another secret or another account, or a wrong clock" if status == _FORBIDDEN else ""
        findings.faults.append(
            f"{where}: the service at {url} refuses a page signed with the secret of {reference.place}: "
            f"{status or 'no answer'} {message}{hint}"
        )
    return findings


async def _try_page(
    session: aiohttp.ClientSession, webhook: str, secret: str, page: bytes
) -> tuple[int, dict[str, Any]]:
    """Sign a page and post it as a dry run; return the status and the document answered, 0 and nothing without answer."""
    signature = sign(secret, str(int(time.time() * 1000)), page)
    headers = {"Content-Type": "application/json", HEADER_NAME: signature}
    try:
        async with session.post(webhook, params={"dry_run": "true"}, data=page, headers=headers) as answer:
            return answer.status, _decode(await answer.text(errors="replace"))
    except (aiohttp.ClientError, TimeoutError):
        return 0, {}


def _sample_page(account: AccountSettings) -> bytes:
    """Return a page as Heap's spec has it, with one made-up user."""
    identity = {"field_type": "identity_mapping", "value": {"id": next(iter(account.identities), "email")}}
    page = {
        "action_type": Action.SYNC.value,
        "customer_config": {"fields": [identity]},
        "data": {
            "segment": {"id": _SAMPLE_SEGMENT_ID, "name": _SAMPLE_SEGMENT},
            "sync_info": {"page_number": 1, "total_pages": 1, "sync_task_id": f"check-{uuid.uuid4()}"},
            "add": [{"id": _SAMPLE_USER}],
        },
    }
    return msgspec.json.encode(page | ({"id_token": account.heap_id_token} if account.heap_id_token else {}))


def _sample_notes(where: str, document: dict[str, Any]) -> list[str]:
    preview = document["preview"]
    calls = "; ".join(f"{call['method']} {call['path']}" for call in preview["calls"]) or "no call"
    dry_run = " (dry_run = true: nothing is sent)" if preview["dry_run"] else ""
    return [f"{where}: the service accepted a signed sample page and did not keep it; it would call: {calls}{dry_run}"]


async def _check_public_url(session: aiohttp.ClientSession, account: AccountSettings) -> Findings:
    where = f"accounts.{account.name}.public_url"
    started = time.monotonic()
    if await is_alive(session, account.public_url):
        took_ms = (time.monotonic() - started) * 1000
        return Findings(notes=[f"{where}: the service answers at {account.public_url} within {took_ms:.0f} ms"])
    fault = (
        f"{where}: the service does not answer at {account.public_url}/livez, as seen from this machine. The service must run, and the "
        "proxy in front of it must forward requests"
    )
    return Findings(faults=[fault])


def _decode(text: str) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {}
    return document if isinstance(document, dict) else {}
