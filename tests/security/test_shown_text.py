"""Names and words from outside are shown as text: in terminals, in the log, to Prometheus; and paths stay within."""

import asyncio
import re

import aiohttp
import pytest

from service.commands.terminal import one_line
from service.sandbox.server import running_sandbox
from tests.api_fixtures import authorization
from tests.command_fixtures import API_KEY, Installation, eventually

HOSTILE = 'A\x1b]0;owned\x07\x1b[2J\nB\x9b31m\u202eC\u2028D\x7f"} 1\\'
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@pytest.mark.parametrize("text", ["Üser, 日本 🙂", "plain"])
def test_text_that_steers_nothing_is_shown_as_it_is(text):
    assert one_line(text) == text


async def test_hostile_names_stay_text_in_terminal_log_and_metrics(tmp_path):
    async with running_sandbox() as cordial:
        installation = Installation(tmp_path, cordial.url, SERVER__METRICS_OPEN="true")
        async with installation.serving():
            assert (await installation.deliver(HOSTILE, ("no address", "a@x.com"), task=HOSTILE)).status == 200
            await eventually(lambda: installation.figures("pending"), [0])
            shown = await asyncio.gather(
                *(
                    installation.run(*each)
                    for each in (["status"], ["status", "--json"], ["syncs"], ["lists", "--json"])
                )
            )
            metrics = (await installation.get("/metrics"))[1]
        log = installation.log.read_text()
    for ended in shown:
        assert ended.status == 0, ended.errors
        assert "owned" in ended.output
        assert STEERING.findall(ended.output) == []
    assert "owned" in log
    assert STEERING.findall(log) == []
    assert all(line.startswith("{") for line in log.splitlines())
    assert "owned" not in metrics


@pytest.mark.parametrize("root", ["/docs/assets/", "/page/"])
async def test_no_path_leads_out_of_the_pages(tmp_path, root):
    async with running_sandbox() as cordial:
        installation = Installation(tmp_path, cordial.url)
        async with installation.serving():
            for path in (
                "../../app.py",
                "..%2f..%2fapp.py",
                "%2e%2e/%2e%2e/app.py",
                "%00",
                "/etc/passwd",
                "..\\app.py",
            ):
                answer = await raw_answer(installation.port, root + path)
                assert answer[9:12] in {b"404", b"401", b"400"}, (path, answer)
                assert b"import" not in answer


async def raw_answer(port: int, target: str) -> bytes:
    """Return what is answered to a target that no client library has made harmless."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    return answer


async def test_other_sites_get_nothing_through_a_browser(tmp_path):
    async with running_sandbox() as cordial:
        installation = Installation(tmp_path, cordial.url)
        async with installation.serving(), aiohttp.ClientSession() as session:
            pages = {"/": authorization(API_KEY), "/docs": {}}
            for path, headers in pages.items():
                async with session.get(installation.url + path, headers=headers) as answer:
                    assert answer.status == 200
                    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
                    assert "unsafe" not in answer.headers["Content-Security-Policy"]
            pause = f"{installation.url}/api/v1/accounts/acme/pause"
            asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
            async with session.options(pause, headers=asked) as preflight:
                assert not any(name.startswith("Access-Control") for name in preflight.headers)
            # A name that was made to point here is another origin to the browser: it has no key for it.
            async with session.get(f"{installation.url}/api/v1/accounts", headers={"Host": "evil.example"}) as answer:
                assert answer.status == 401
            forged = authorization(API_KEY) | {"Origin": "https://evil.example", "Content-Type": "text/plain"}
            async with session.post(pause, headers=forged, data="{}") as answer:
                assert answer.status == 403
            async with session.get(f"{installation.url}/api/v1/accounts", headers=authorization(API_KEY)) as answer:
                assert (await answer.json())["items"][0]["state"] == "sending"
