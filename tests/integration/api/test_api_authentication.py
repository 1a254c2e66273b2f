import base64
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from service.config.settings import SecretReference
from service.observe.api.authentication import Delays, Timings
from tests.api_fixtures import API_KEY, ApiWorld, asking, authorization
from tests.service_fixtures import World, users


async def ask(world: ApiWorld, headers: dict[str, str], path: str = "accounts") -> tuple[int, Any, Any]:
    async with world._session.get(world.url(path), headers=headers) as answer:
        return answer.status, answer.headers, await answer.json()


async def test_the_right_key_opens(world):
    status, headers, _ = await ask(world, authorization(API_KEY))
    assert (status, headers["Cache-Control"]) == (200, "no-store")


async def test_a_key_is_taken_as_a_bearer_token_too(world):
    """Prometheus 2.42 reads no user name from a file, but a token."""
    status, _, _ = await ask(world, {"Authorization": f"Bearer {API_KEY}"})
    assert status == 200


NOT_THE_KEY = [
    {},
    authorization("wrong"),
    authorization(""),
    authorization(API_KEY + "x"),
    authorization("ключ"),
    {"Authorization": "Basic"},
    {"Authorization": "Basic !!!"},
    {"Authorization": "Basic " + base64.b64encode(b"\xff:").decode()},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer wrong"},
    {"Authorization": "Bearer " + base64.b64encode(f"{API_KEY}:".encode()).decode()},
]


@pytest.mark.parametrize("path", ["accounts", "lists/1", "events", "nothing"])
async def test_anything_else_is_refused_with_a_challenge(world, monkeypatch, path):
    monkeypatch.setattr(World, "wrong_key_timings", Timings(longest_delay=0.0))
    await world.restart()
    for headers in NOT_THE_KEY:
        status, answered, document = await ask(world, headers, path)
        assert (status, document["error"]["code"]) == (401, "unauthorized"), headers
        assert answered["WWW-Authenticate"].startswith("Basic ")
        assert answered["Cache-Control"] == "no-store"


async def test_an_action_without_a_key_changes_nothing(world):
    async with world._session.post(world.url("accounts/acme/pause"), json={}) as answer:
        assert answer.status == 401
    assert (await world.get("accounts"))["items"][0]["state"] == "sending"


async def test_without_a_configured_key_nobody_gets_in_and_is_told_what_to_set(tmp_path):
    async with asking(tmp_path, keys=()) as world:
        answer = await world.ask("accounts")
        assert answer.status == 401
        assert "server.api_key_file" in answer.document["error"]["message"]


async def test_of_several_keys_each_opens_and_is_told_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("OLD_KEY", "old one")
    (tmp_path / "new").write_text("new öne")
    keys = (
        SecretReference(environment="OLD_KEY"),
        SecretReference(file=str(tmp_path / "new")),
        SecretReference(file=str(tmp_path / "missing")),
    )
    async with asking(tmp_path, keys=keys) as world:
        for key in ("old one", "new öne"):
            assert (await world.post("accounts/acme/resume", key=key)).status == 200
        rows = (await world.get("audit", key="old one"))["items"]
    assert [row["actor"] for row in rows] == [
        f"API key of file {tmp_path / 'new'}",
        "API key of environment variable OLD_KEY",
    ]


async def test_a_right_key_does_not_wait_behind_wrong_ones(world, monkeypatch):
    monkeypatch.setattr(World, "wrong_key_timings", Timings(first_delay=1e9, longest_delay=1e9))
    await world.restart()
    async with world._session.get(world.url("accounts"), headers=authorization(API_KEY)) as warm:
        assert warm.status == 200
    with pytest.raises(TimeoutError):
        await world.ask("accounts", key="wrong", timeout=aiohttp.ClientTimeout(total=0.2))
    assert (await world.ask("accounts")).status == 200


def test_delays_grow_for_one_address_up_to_a_bound_and_are_forgiven():
    now = [0.0]
    delays = Delays(lambda: now[0])
    seconds = [delays.next_seconds("1.1.1.1") for _ in range(2_000)]
    assert seconds[0] < seconds[1] < seconds[2]
    assert seconds == sorted(seconds)
    assert seconds[-1] <= 5
    assert delays.next_seconds("2.2.2.2") == seconds[0]
    now[0] += 3_600
    assert delays.next_seconds("1.1.1.1") == seconds[0]


def test_delays_remember_a_bounded_number_of_addresses():
    delays = Delays()
    for number in range(5_000):
        delays.next_seconds(f"address {number}")
    assert len(delays._failures) <= 1_000


async def test_neither_keys_nor_user_ids_are_logged(world, monkeypatch):
    monkeypatch.setattr(World, "wrong_key_timings", Timings(longest_delay=0.0))
    await world.restart()
    await world.deliver("Heap Test", users(1))
    await world.settled()
    with capture_logs() as entries:
        assert (await world.ask("lists/1/members/user0%40example.com")).status == 404
        await world.post("lists/1/members/find", {"user": "user0@example.com"})
        await world.ask("accounts", key="mistyped key")
        await world.post("lists/1/rebuild")
        await world.settled()
    text = repr(entries)
    assert "action.done" in text
    assert "api_key.wrong" in text
    for hidden in ("user0", API_KEY, "mistyped"):
        assert hidden not in text


async def test_a_fault_of_the_service_is_logged_without_the_user_id(world, monkeypatch):
    await world.deliver("Heap Test", users(1))

    async def fail(*_arguments, **_names):
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(world.service.reader, "member", fail)
    with capture_logs() as entries:
        answer = await world.post("lists/1/members/find", {"user": "user0@example.com"})
    assert (answer.status, answer.document["error"]["code"]) == (500, "internal")
    [failed] = [entry for entry in entries if entry["event"] == "request.failed"]
    assert "user0" not in repr({name: value for name, value in failed.items() if name != "exc_info"})
    assert failed["path"] == "/api/v1/lists/{id}/members/find"
