"""What a file cannot do is done by calls, which name who failed; an account whose imports fail goes on without them."""

import base64
import json

import aiohttp
import pytest

from service.config.settings import SecretReference
from service.deliver import retry
from service.sandbox.faults import Fault, FaultKind
from service.sandbox.imports.faults import ImportFault
from service.sandbox.imports.options import ImportOptions
from tests.import_fixtures import COUNT_LIST, GET_JOB, POST_IMPORT, add_contacts, importing, imports_of, set_timings
from tests.service_fixtures import World, users

SLOW = ImportOptions(delay_seconds=0.5)


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    set_timings(monkeypatch, repeat=0.1, recount=(0.0, 0.1), first_look=0.1, max_look=0.5)


async def named(world: World) -> None:
    """Wait until everything is settled, and nobody is looked for any more."""
    await world.settled()
    await world.until(
        lambda: (
            not world.rows("SELECT 1 FROM unnamed UNION SELECT 1 FROM bulk_import WHERE state <> 'ended'")
            and world.service.store.backlog.total == 0
        )
    )


async def test_contacts_that_cordial_does_not_know_get_names_where_none_are_created(tmp_path):
    async with importing(tmp_path, create_contacts=False, max_attempts=1) as world:
        add_contacts(world, users(100))
        await world.deliver("Active Users", users(120))
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(100))
        assert sorted(letter.contact for letter in world.dead_letters()) == sorted(
            f"email:{user}" for user in users(120)[100:]
        )
        assert imports_of(world) == [
            (120, 1, 0, 120, "Cordial does not know 20 of the contacts, and names none of them")
        ]


async def test_few_unknown_among_many_are_found_by_smaller_files(tmp_path):
    """One unknown contact among 1,600: the likely ones are called, files halve the rest, and the last sixteen are called."""
    async with importing(tmp_path, create_contacts=False, max_attempts=1) as world:
        add_contacts(world, users(1599))
        await world.deliver("Active Users", users(1600))
        await named(world)
        assert world.members("ActiveUsers") == sorted(users(1599))
        assert [letter.contact for letter in world.dead_letters()] == [f"email:{users(1600)[-1]}"]
        assert len(world.contact_calls()) <= 40
        assert imports_of(world)[0][2:4] == (1599, 1)


@pytest.mark.parametrize("share", [0.002, 0.3])
async def test_rows_that_cordial_rejects_are_sent_by_calls(tmp_path, share):
    async with importing(tmp_path) as world:
        add_contacts(world, users(1000))
        world.cordial.imports.faults.add(ImportFault(reject_share=share))
        await world.deliver("Active Users", users(1000))
        await named(world)
        assert world.members("ActiveUsers") == sorted(users(1000))
        assert world.dead_letters() == []


async def test_a_joining_and_a_leaving_row_that_are_refused_do_not_balance_in_the_count(tmp_path):
    async with importing(tmp_path, SLOW) as world:
        add_contacts(world, users(160))
        await world.deliver("Active Users", users(100))
        await world.settled()
        world.cordial.imports.refused_addresses.update((users(160)[100], users(1)[0]))
        await world.deliver("Active Users", users(160)[100:], [*users(10), "gone@example.com"])
        await world.until(lambda: len(world.calls(POST_IMPORT)) == 3 or world.contact_calls())
        world.cordial.imports.refused_addresses.clear()
        await named(world)
        assert world.members("ActiveUsers") == sorted(users(160)[10:])


async def test_without_figures_a_count_proves_nothing_where_a_list_gains_and_loses(tmp_path):
    async with importing(tmp_path, create_contacts=False) as world:
        world.cordial.faults.add(
            Fault(FaultKind.ANSWER, endpoint="/v2/jobs/{id}", times=None, status=200, body='{"status": "Done"}')
        )
        add_contacts(world, users(160))
        await world.deliver("Active Users", users(100))
        await world.settled()
        world.cordial.imports.refused_addresses.update((users(160)[100], users(1)[0]))
        await world.deliver("Active Users", users(160)[100:], users(10))
        await named(world)
        assert world.members("ActiveUsers") == sorted(users(160)[10:])


async def test_changes_that_wait_for_a_file_still_find_out_that_an_outage_is_over(tmp_path, monkeypatch):
    """No import begins while the account is stopped, and reading ends no stop that began with writing: a change does."""
    set_timings(monkeypatch, max_repost=0.1)
    monkeypatch.setattr(World, "retry_timings", retry.Timings(probe_base=0.1, probe_cap=0.5, absent=0.3))
    async with importing(tmp_path) as world:
        add_contacts(world, users(200))
        for endpoint in ("/v2/contactimports", "/v2/contacts/{key}", "/v2/contacts"):
            world.cordial.faults.add(Fault(FaultKind.ANSWER, endpoint=endpoint, times=None, status=503))
        await world.deliver("Active Users", users(200))
        await world.until(lambda: world.service.deliverer.pauses()["acme"] == 1 and imports_of(world)[0][4])
        world.service.deliverer.account("acme").pause()
        world.cordial.faults.clear()
        world.service.deliverer.account("acme").resume()
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(200))


async def test_rows_that_are_lost_though_counted_are_missed_by_the_lists_count(tmp_path):
    async with importing(tmp_path) as world:
        add_contacts(world, users(500))
        world.cordial.imports.faults.add(ImportFault(lose_share=0.1))
        await world.deliver("Active Users", users(500))
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(500))
        assert len(world.calls(POST_IMPORT)) == 2
        assert world.contact_calls() == []


async def test_a_count_that_a_gateway_swallows_does_not_end_the_doubt_of_the_one_before(tmp_path, monkeypatch):
    set_timings(monkeypatch, repeat=0.1, recount=(0.0, 1.0, 0.1), first_look=0.1, max_look=0.5)
    async with importing(tmp_path) as world:
        add_contacts(world, users(500))
        world.cordial.imports.faults.add(ImportFault(lose_share=0.1))
        await world.deliver("Active Users", users(500))
        await world.until(lambda: bool(world.calls(COUNT_LIST)))
        world.cordial.faults.add(Fault(FaultKind.HTML, endpoint="/v2/accountlists/{id}/count", status=502))
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(500))
        assert len(world.calls(POST_IMPORT)) == 2


async def test_rows_that_are_lost_again_and_again_are_sent_by_calls(tmp_path):
    async with importing(tmp_path) as world:
        add_contacts(world, users(300))
        world.cordial.imports.faults.add(ImportFault(times=None, lose_share=0.1))
        await world.deliver("Active Users", users(300))
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(300))
        assert len(world.contact_calls()) == 300
        assert "Cordial counts" in imports_of(world)[0][4]


@pytest.mark.parametrize(("times", "calls"), [(1, 0), (None, 300)])
async def test_removals_that_are_lost_though_counted_are_missed_too(tmp_path, times, calls):
    """Once: the job is repeated. Again and again: calls take off whom the jobs did not."""
    async with importing(tmp_path) as world:
        add_contacts(world, users(400))
        await world.deliver("Active Users", users(400))
        await world.settled()
        world.cordial.imports.faults.add(ImportFault(times=times, lose_share=0.3))
        await world.deliver("Active Users", [], users(300))
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(400)[300:])
        assert len(world.contact_calls()) == calls


@pytest.mark.parametrize("fault", [ImportFault(ends="failed", after_share=0.5), ImportFault(refused=True)])
async def test_an_import_that_fails_once_is_repeated(tmp_path, fault):
    async with importing(tmp_path) as world:
        add_contacts(world, users(300))
        world.cordial.imports.faults.add(fault)
        await world.deliver("Active Users", users(300))
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(300))
        assert world.contact_calls() == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (ImportFault(times=None, ends="failed", after_share=0.5), "Cordial says the job failed"),
        (ImportFault(times=None, refused=True), "Cordial did not accept the import: "),
    ],
)
async def test_an_account_whose_imports_fail_goes_on_by_calls(tmp_path, fault, reason):
    async with importing(tmp_path) as world:
        add_contacts(world, users(300))
        world.cordial.imports.faults.add(fault)
        await world.deliver("Active Users", users(300))
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(300))
        assert imports_of(world)[0][4].startswith(reason)
        calls = len(world.calls(POST_IMPORT))
        await world.deliver("Active Users", users(400)[300:])
        await world.settled()
        assert len(world.calls(POST_IMPORT)) == calls, "files are not tried again at once"


@pytest.mark.parametrize("status", [403, 406])
async def test_a_refused_import_leaves_the_account_sending(tmp_path, status):
    """403: the key lacks the permission. The account is not paused for it."""
    async with importing(tmp_path) as world:
        world.cordial.faults.add(
            Fault(FaultKind.ANSWER, endpoint="/v2/contactimports", times=None, status=status, body='{"error": true}')
        )
        await world.deliver("Active Users", users(200))
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(200))
        assert world.service.deliverer.pauses() == {"acme": 0}
        assert len(world.calls(POST_IMPORT)) == 1


async def test_an_account_whose_imports_are_throttled_goes_on_by_calls(tmp_path, monkeypatch):
    set_timings(monkeypatch, throttle_patience=1.0)
    async with importing(tmp_path) as world:
        world.cordial.faults.add(
            Fault(
                FaultKind.ANSWER, endpoint="/v2/contactimports", times=None, status=429, headers={"Retry-After": "600"}
            )
        )
        await world.deliver("Active Users", users(100))
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(100))
        assert len(world.calls(POST_IMPORT)) == 1
        assert imports_of(world)[0][4] == "Cordial's rate limit leaves no room for an import"


async def test_a_job_that_never_moves_is_given_up_without_its_file(tmp_path, monkeypatch):
    """Throttled for ever before it has fetched anything: what it was to do is done by calls, and it can do nothing more."""
    set_timings(monkeypatch, patience_unfetched=1.0)
    async with importing(tmp_path) as world, aiohttp.ClientSession() as session:
        world.cordial.imports.faults.add(ImportFault(times=None, throttled_seconds=600))
        await world.deliver("Active Users", users(100))
        url = await file_url(world)
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(100))
        async with session.get(url) as answer:
            assert answer.status == 404


async def test_an_outage_while_a_job_runs_is_waited_out(tmp_path):
    async with importing(tmp_path, SLOW) as world:
        add_contacts(world, users(200))
        world.cordial.faults.add(Fault(FaultKind.ANSWER, endpoint="/v2/jobs/{id}", times=2, status=503))
        await world.deliver("Active Users", users(200))
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(200))
        assert len(world.calls(POST_IMPORT)) == 1
        assert len(world.calls(GET_JOB)) >= 3


async def test_public_url_taken_away_leaves_a_running_job_to_its_end(tmp_path):
    async with importing(tmp_path, SLOW) as world:
        add_contacts(world, users(200))
        await world.deliver("Active Users", users(200))
        await world.until(lambda: world.rows("SELECT 1 FROM import_part WHERE fetched_at_ms IS NOT NULL"))
        await world.restart(public_url="")
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(200))
        assert world.contact_calls() == []


async def file_url(world: World) -> str:
    """Return the file's URL as Cordial was told, as soon as it was."""
    await world.until(lambda: world.calls(POST_IMPORT))
    url: str = str(list(world.cordial.imports.jobs.values())[-1].request.url)
    return url


async def test_a_file_that_was_fetched_is_there_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(World, "may_fetch_again_seconds", 0.0)
    async with importing(tmp_path, SLOW) as world, aiohttp.ClientSession() as session:
        add_contacts(world, users(60))
        await world.deliver("Active Users", users(60))
        url = await file_url(world)
        async with session.get(url) as answer:
            assert answer.status == 200
            await answer.read()
        async with session.get(url) as answer:
            assert answer.status == 404


async def test_a_file_is_there_for_its_job_alone(tmp_path):
    async with importing(tmp_path, SLOW) as world, aiohttp.ClientSession() as session:
        add_contacts(world, users(60))
        await world.deliver("Active Users", users(60))
        url = await file_url(world)
        async with session.head(url) as head:
            size = head.content_length
        async with session.get(url) as answer:
            body = await answer.read()
        assert len(body) == size
        assert body.decode().split() == sorted(f"{user},1" for user in users(60))
        assert answer.headers["Cache-Control"] == "no-store"
        async with session.get(url.replace("/imports/", "/imports/X")) as answer:
            assert answer.status == 404
        await world.settled()
        async with session.get(url) as answer:
            assert answer.status == 404, "its job is over"


async def test_a_file_may_ask_for_a_password(tmp_path):
    password = tmp_path / "import-password"
    password.write_text("pass:word/1")
    async with (
        importing(tmp_path, SLOW, import_passwords=(SecretReference(file=str(password)),)) as world,
        aiohttp.ClientSession() as session,
    ):
        add_contacts(world, users(60))
        await world.deliver("Active Users", users(60))
        url = await file_url(world)
        bare = url.split("://")[0] + "://" + url.split("@")[1]
        async with session.get(bare) as answer:
            assert answer.status == 401
        wrong = base64.b64encode(b"cordial:wrong").decode()
        async with session.get(bare, headers={"Authorization": f"Basic {wrong}"}) as answer:
            assert answer.status == 401
        await world.settled()
        assert world.members("ActiveUsers") == sorted(users(60))


async def test_the_store_does_not_know_the_files_name(tmp_path):
    async with importing(tmp_path, SLOW) as world:
        await world.deliver("Active Users", users(60))
        name = (await file_url(world)).rsplit("/", 1)[1].removesuffix(".csv")
        directory = tmp_path / "store"
        content = b"".join(path.read_bytes() for path in directory.iterdir())
        assert name.encode() not in content
        await world.settled()


async def test_a_file_names_no_list_by_a_name_that_passed_on_while_its_request_waited(tmp_path):
    """The name is seen, then the request waits for Cordial's limit; a pause leaves people time to change lists by hand."""
    async with importing(tmp_path) as world:
        await world.deliver("Readers", users(3))
        await world.settled()
        add_contacts(world, users(100)[3:])
        fault = Fault(FaultKind.ANSWER, endpoint="/v2/contactimports", status=429, headers={"Retry-After": "3600"})
        world.cordial.faults.add(fault)
        await world.deliver("Readers", users(100))
        await world.until(lambda: len(world.calls(POST_IMPORT)) == 1)
        world.service.deliverer.account("acme").pause()
        state = world.cordial.state
        state.rename_list(state.lists_by_name["Readers"], "Book-Lovers")
        foreign = state.create_list("Readers")
        world.service.deliverer.account("acme").resume()
        await world.settled()
        assert foreign.members == {}
        assert world.members("Book-Lovers") == sorted(users(100))


@pytest.mark.parametrize("figure", [-1, 10**40, 1e300, "1", [1], None])
async def test_figures_that_cannot_be_are_not_believed(tmp_path, figure):
    everybody = users(100)
    async with importing(tmp_path) as world:
        add_contacts(world, everybody)
        names = ("totalRecords", "updated", "inserted", "rejected", "error", "ignored")
        told = {
            "status": "Done",
            "totalItems": figure,
            "completedItems": figure,
            "result": dict.fromkeys(names, figure),
        }
        # As long as the job is not over, it is asked again.
        world.cordial.faults.add(
            Fault(
                FaultKind.ANSWER, endpoint="/v2/jobs/{id}", status=200, body=json.dumps(told), times=None, seconds=0.5
            )
        )
        await world.deliver("Readers", everybody)
        await world.settled()
        assert world.members("Readers") == sorted(everybody)
