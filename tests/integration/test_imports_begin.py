"""An import begins as soon as what it waits for has come, whatever else goes on and whenever the service was restarted."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from service.sandbox.faults import Fault, FaultKind
from tests.hostile_fixtures import HostileWorld, hostile_world, page
from tests.import_fixtures import POST_IMPORT, importing
from tests.ports import free_port
from tests.service_fixtures import API_KEY, World, users


async def pause(world: World, account: str = "acme", action: str = "pause") -> None:
    async with (
        aiohttp.ClientSession(headers={"Authorization": aiohttp.encode_basic_auth(API_KEY, "")}) as session,
        session.post(f"{world.service.url}/api/v1/accounts/{account}/{action}", json={}) as answer,
    ):
        assert answer.status == 200, await answer.text()


async def test_pages_that_came_before_a_restart_are_not_waited_for(tmp_path):
    async with importing(tmp_path) as world:
        await pause(world)
        await world.deliver("Readers", users(150), task="one", page_size=50, first_pages=2)
        await world.restart()
        await world.deliver("Readers", users(150), task="one", page_size=50)
        await pause(world, action="resume")
        await world.settled()
        assert world.members("Readers") == sorted(users(150))
        assert world.contact_calls() == []
        assert len(world.calls(POST_IMPORT)) == 2


@contextlib.asynccontextmanager
async def _two_accounts(directory: Path) -> AsyncIterator[HostileWorld]:
    async with hostile_world(directory, start=False) as world:
        world.port = free_port()
        world.others["other"] = {}
        await world.start(public_url=f"http://127.0.0.1:{world.port}", bulk_threshold=50, bulk_untested=True)
        yield world


async def test_what_another_account_cannot_fold_is_not_waited_for(tmp_path):
    async with _two_accounts(tmp_path) as world:
        world.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON member WHEN new.contact = 'email:odd@example.com' "
            "BEGIN SELECT raise(ABORT, 'broken'); END"
        )
        assert (await world.post(page(["odd@example.com"], segment="Odd"), account="other")).status == 200
        await world.accepted(page(users(150)))
        await world.until(
            lambda: (
                len(world.calls(POST_IMPORT)) == 2
                and not world.rows("SELECT 1 FROM bulk_import WHERE state != 'ended'")
            )
        )
        assert world.members("Readers") == sorted(users(150))
        assert world.contact_calls() == []
        world.execute("DROP TRIGGER broken")


async def test_a_resume_ends_the_rest_after_an_import_that_came_to_nothing(tmp_path):
    async with importing(tmp_path) as world:
        refusal = Fault(
            FaultKind.ANSWER,
            method="POST",
            endpoint="/v2/contactimports",
            status=406,
            body='{"error": true, "message": "the source cannot be reached"}',
        )
        world.cordial.faults.add(refusal)
        await world.deliver("Readers", users(100))
        await world.settled()
        assert len(world.calls(POST_IMPORT)) == 1
        assert len(world.contact_calls()) == 100
        await pause(world, action="resume")
        await world.deliver("Readers", users(100, "later"))
        await world.settled()
        assert len(world.contact_calls()) == 100
        assert len(world.members("Readers")) == 200
