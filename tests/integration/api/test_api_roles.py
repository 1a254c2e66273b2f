"""What a key may do is its role's; and a key that is taken away opens nothing any more."""

import asyncio
import re
from typing import Literal

import aiohttp
import pytest

from service.config.secrets import CachedSecret
from service.config.secrets import Timings as SecretTimings
from service.config.settings import ApiKeySettings, SecretReference
from service.observe.api.authentication import Timings
from tests.api_fixtures import API_KEY, asking, authorization
from tests.command_fixtures import eventually
from tests.service_fixtures import World

ROLES: list[Literal["read", "operate", "admin"]] = ["read", "operate", "admin"]


@pytest.fixture
async def world(tmp_path):
    named = {}
    for role in ROLES:
        (tmp_path / role).write_text(f"key to {role}\n")
        named[f"my-{role}"] = ApiKeySettings(f"my-{role}", SecretReference(file=str(tmp_path / role)), role)
    async with asking(tmp_path, named=named) as running:
        yield running


def needed(method: str, path: str) -> Literal["read", "operate", "admin"]:
    if path == "/api/v1/forget":
        return "admin"
    asks = method == "GET" or path.endswith(("/find", "/session", "/session/end"))
    return "read" if asks else "operate"


async def test_every_address_asks_for_its_role(world):
    async with world._session.get(f"{world.service.url}/openapi.json") as answer:
        paths = (await answer.json())["paths"]
    operations = [(method.upper(), path) for path, methods in paths.items() for method in methods]
    operations = [operation for operation in operations if operation[1].startswith("/api/v1/")]
    assert len(operations) > 20
    for method, path in operations:
        address = world.service.url + re.sub(r"{[^}]+}", "1", path)
        for role in ROLES:
            # A body that no action takes: what may be asked is refused for it, and nothing is done.
            body = {} if method == "GET" else {"json": {"no such": 1}}
            async with world._session.request(
                method, address, headers=authorization(f"key to {role}"), **body
            ) as answer:
                is_allowed = ROLES.index(role) >= ROLES.index(needed(method, path))
                assert (answer.status == 403) != is_allowed, (method, path, role, answer.status)
                assert answer.status != 401


async def test_a_refusal_says_what_is_needed_and_the_audit_names_the_key(world):
    refused = await world.post("accounts/acme/pause", key="key to read")
    assert refused.status == 403
    assert refused.document["error"] == {
        "code": "forbidden",
        "message": "this needs an API key with the role operate; API key my-read has read",
    }
    assert (await world.post("accounts/acme/pause", key="key to operate")).status == 200
    assert (await world.post("forget", {"user": "jane@example.com"}, key="key to operate")).status == 403
    [row] = (await world.get("audit", key="key to read"))["items"]
    assert row["actor"] == "API key my-operate"
    assert (await world.get("service", key="key to read"))["key"] == {"name": "API key my-read", "role": "read"}


async def test_the_key_without_a_name_stays_one_for_everything(world):
    assert (await world.get("service"))["key"]["role"] == "admin"
    assert (await world.post("forget", {"user": "jane@example.com"})).status == 200


async def test_of_one_key_under_two_names_the_lesser_role_counts(tmp_path):
    same = SecretReference(file=str(tmp_path / "api-key"))
    named = {"one": ApiKeySettings("one", same, "admin"), "two": ApiKeySettings("two", same, "read")}
    async with asking(tmp_path, keys=(), named=named) as world:
        assert (await world.get("service"))["key"]["role"] == "read"


@pytest.mark.parametrize("content", [None, ""])
def test_a_secret_that_is_gone_is_kept_for_an_instant_and_no_longer(tmp_path, content):
    now = [0.0]
    path = tmp_path / "secret"
    path.write_text("hush")
    secret = CachedSecret(SecretReference(file=str(path)), lambda: now[0])
    assert secret.get() == "hush"
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    now[0] = 5.0
    assert secret.get() == "hush"
    for moment in (10.0, 10.1, 1e6):
        now[0] = moment
        with pytest.raises((OSError, LookupError)):
            secret.get()
    path.write_text("new")
    assert secret.get() == "new"


async def test_a_key_that_is_taken_away_closes_the_api_and_ends_who_watches(world, monkeypatch):
    monkeypatch.setattr(World, "secret_timings", SecretTimings(max_age=0.0, max_unreadable=0.0))
    monkeypatch.setattr(World, "heartbeat_seconds", 0.05)
    monkeypatch.setattr(World, "wrong_key_timings", Timings(longest_delay=0.0))
    await world.restart()
    async with world._session.get(
        world.url("events"), headers=authorization(API_KEY), timeout=aiohttp.ClientTimeout(total=60)
    ) as watched:
        assert watched.status == 200
        world.api_key_file.unlink()

        async def status() -> bool:
            return bool((await world.ask("accounts")).status == 401)

        await eventually(status, expected=True)
        # The answer ends; without an end this waits until the time is over.
        async with asyncio.timeout(60):
            await watched.read()
