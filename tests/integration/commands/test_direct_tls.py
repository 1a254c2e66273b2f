"""Direct TLS with a real process, real certificates and real clients."""

import asyncio
import re
from collections import Counter

import aiohttp
import pytest

from service.sandbox.heap_pages import build_pages, post_page
from tests.command_fixtures import API_KEY, WEBHOOK_SECRET, eventually
from tests.reload_fixtures import REFUSED, Reloadable, keys_told
from tests.tls_fixtures import Pair, make_dated_pair, make_pair, shown_certificate, takes_protocol, trusting_all

JANE = "jane@example.com"


@pytest.fixture
def place(tmp_path) -> Pair:
    """Where the service looks for its certificate."""
    return make_pair(tmp_path, "served")


@pytest.fixture
def service(tmp_path, cordial, place) -> Reloadable:
    service = Reloadable(tmp_path, cordial.url, "acme")
    service.sections["server"] |= {"tls_certificate_file": str(place.certificate), "tls_key_file": str(place.key)}
    service.url = f"https://127.0.0.1:{service.port}"
    service.ssl_context = trusting_all()
    return service


async def test_everything_works_over_https_alone(service, place):
    async with service.running():
        assert await shown_certificate(service.port) == place.der
        assert (await service.post("acme", [JANE], task="one")).status == 200
        await eventually(lambda: service.figures("settled"), [1])
        assert await service.get("/readyz") == (200, '{"status":"ready","degraded":[]}')
        status, page = await service.get("/docs")
        assert (status, "swagger-ui" in page) == (200, True)
        await _actions_of_own_pages_are_taken_and_of_others_refused(service)
        protocols = ("tls1_1", "tls1_2", "tls1_3")
        assert [await takes_protocol(service.port, protocol) for protocol in protocols] == [False, True, True]
        with pytest.raises(aiohttp.ClientError):
            async with aiohttp.ClientSession() as session:
                await session.get(f"http://127.0.0.1:{service.port}/livez")

        option = ("--config", str(service.config))
        for command, said in [
            (("status",), "service    ready"),
            (("pause", "acme"), "acme"),
            (("resume", "acme"), "acme"),
            (("lists",), "ActiveUsers"),
            (("check",), "All is well"),
        ]:
            ended = await service.run(*command, *option)
            assert (ended.status, said in ended.output) == (0, True), ended


async def test_commands_give_the_api_key_to_nobody_but_the_holder_of_the_certificate(service, tmp_path):
    async with service.running():
        stranger = make_pair(tmp_path, "stranger")
        service.sections["server"] |= {
            "tls_certificate_file": str(stranger.certificate),
            "tls_key_file": str(stranger.key),
        }
        service.write()
        ended = await service.run("lists", "--config", str(service.config))
        assert (ended.status, "does not show the certificate" in ended.errors) == (1, True), ended


async def test_a_renewed_certificate_is_taken_up_under_load_and_a_broken_one_refused(service, place, tmp_path):
    renewed, third = make_pair(tmp_path, "renewed"), make_pair(tmp_path, "third")
    expired = make_dated_pair(tmp_path, "expired", "20200101000000Z", "20200201000000Z")
    async with service.running():
        stop = asyncio.Event()
        senders = [asyncio.create_task(_keep_posting(service, number, stop)) for number in range(3)]
        renewed.put_at(place)
        await eventually(lambda: shown_certificate(service.port), renewed.der)

        expired.put_at(place)
        await eventually(lambda: _refusals(service), 1)
        assert await shown_certificate(service.port) == renewed.der
        await eventually(lambda: service.has_condition("certificate_refused", "server.tls_certificate_file: "), True)

        # At SIGHUP nothing is waited for, and what cannot serve refuses the reload as a whole.
        service.sections["store"]["max_backlog"] = 77
        news = await service.reload(outcome=REFUSED)
        assert "has expired" in news[-1]["fault"]
        third.put_at(place)
        assert keys_told(await service.reload()) == ["store.max_backlog"]
        assert await shown_certificate(service.port) == third.der
        await eventually(lambda: service.has_condition("certificate_refused"), False)

        elsewhere = make_pair(tmp_path, "elsewhere")
        service.sections["server"] |= {
            "tls_certificate_file": str(elsewhere.certificate),
            "tls_key_file": str(elsewhere.key),
        }
        assert keys_told(await service.reload()) == ["server.tls_certificate_file", "server.tls_key_file"]
        assert await shown_certificate(service.port) == elsewhere.der
        stop.set()
        answers = sum(await asyncio.gather(*senders), Counter[int]())
    assert answers.keys() == {200}


async def test_switching_tls_off_waits_for_a_restart_and_a_bad_certificate_keeps_the_service_from_starting(
    service, place, tmp_path
):
    async with service.running():
        service.sections["server"] |= {"tls_certificate_file": "", "tls_key_file": ""}
        news = await service.reload()
        waiting = [line["setting"] for line in news if line["event"] == "configuration.needs_restart"]
        assert waiting == ["server.tls_certificate_file", "server.tls_key_file"]
        assert await shown_certificate(service.port) == place.der
    ending = make_pair(tmp_path, "ending", days=5)
    service.sections["server"] |= {"tls_certificate_file": str(ending.certificate), "tls_key_file": str(place.key)}
    service.write()
    ended = await service.run("serve", "--config", str(service.config))
    assert ended.status == 2
    assert "is not the key of the certificate" in ended.errors
    service.sections["server"]["tls_key_file"] = str(ending.key)
    service.write()
    ended = await service.run("check", "--config", str(service.config))
    assert re.search(r"warning: server\.tls_certificate_file: .* in [45] days; renew it", ended.errors), ended


async def _actions_of_own_pages_are_taken_and_of_others_refused(service: Reloadable) -> None:
    headers = {"Authorization": aiohttp.encode_basic_auth(API_KEY), "Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=service.connector(), headers=headers) as session:
        for origin, status in [(service.url, 200), ("https://elsewhere.example", 403)]:
            path = f"{service.url}/api/v1/accounts/acme/resume"
            async with session.post(path, data="{}", headers={"Origin": origin}) as answer:
                assert answer.status == status


async def _keep_posting(service: Reloadable, number: int, stop: asyncio.Event) -> Counter[int]:
    """Post page after page, each on a connection of its own, and count the answers."""
    answers: Counter[int] = Counter()
    while not stop.is_set():
        [page] = build_pages(number, f"Segment {number}", [JANE], task_id=f"task-{number}-{answers.total()}")
        async with aiohttp.ClientSession(connector=service.connector()) as session:
            answer = await post_page(session, f"{service.url}/webhooks/heap/acme", WEBHOOK_SECRET, page)
        answers[answer.status] += 1
        await asyncio.sleep(0.02)
    return answers


async def _refusals(service: Reloadable) -> int:
    return [line["event"] for line in service.lines()].count("certificate.refused")


async def test_a_certificate_that_ends_soon_is_a_condition_until_it_is_renewed(service, place, tmp_path):
    soon, later = make_pair(tmp_path, "soon", days=3), make_pair(tmp_path, "later", days=90)
    for made, used in ((soon.certificate, place.certificate), (soon.key, place.key)):
        used.write_bytes(made.read_bytes())

    async def is_told() -> bool:
        shown = await service.run("conditions", "--json", "--config", str(service.config))
        return "certificate_ends" in shown.output

    async with service.running():
        await eventually(is_told, expected=True)
        for made, used in ((later.certificate, place.certificate), (later.key, place.key)):
            used.write_bytes(made.read_bytes())
        await eventually(is_told, expected=False)
