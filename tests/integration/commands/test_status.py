import re

import msgspec

from service.sandbox.faults import Fault, FaultKind
from tests.command_fixtures import eventually

USERS = ("jane.roe@example.com", "john.doe@example.com", "joe.bloggs@example.com", "undefined")


async def test_status_without_a_store_says_when_there_will_be_one(installation):
    ended = await installation.run("status")
    assert (ended.status, ended.output) == (1, "")
    assert ended.errors.splitlines()[1:2] == ["The service creates the store when it first runs."]
    assert not installation.database.parent.exists()


async def test_status_shows_a_sync_with_and_without_the_service(installation):
    async with installation.serving():
        ended = await installation.run("status")
        assert (ended.status, "No page has arrived from Heap yet." in ended.output) == (0, True)
        await installation.deliver("Active Users", USERS, task="task-1")
        await eventually(lambda: installation.figures("members", "settled", "pending", "dead"), [3, 3, 0, 0])
        lines = (await installation.run("status")).output.splitlines()
        assert lines[0].split() == ["service", "ready"]
        assert re.match(r"ActiveUsers  acme +3 +3 +0 +0  (exact|not counted)$", lines[4])
        # In the word of the page: all is sent.
        assert "account    acme: ready" in lines
        [sync] = [line for line in lines if "1 of 1 pages" in line]
        assert sync.endswith("100%  ActiveUsers: 1 of 1 pages, +3 -0, 1 unusable")
    stopped = await installation.run("status")
    lines = stopped.output.splitlines()
    assert lines[0] == f"service    not reachable at port {installation.port}"
    assert "account    acme: not known now; last time: able to send" in lines
    assert any(line.startswith("ActiveUsers  acme ") for line in lines)
    assert "--config" in lines[-1]
    # A script must see that nothing is sent.
    assert stopped.status == 1


async def test_status_as_json_has_every_count(installation):
    async with installation.serving():
        await installation.deliver("Active Users", USERS, task="task-1")
        await eventually(lambda: installation.figures("settled"), [3])
        ended = await installation.run("status", "--json")
    document = msgspec.json.decode(ended.output)
    assert (document["service"], document["unfolded_users"], document["failure_groups"]) == ("ready", 0, [])
    assert [(account["name"], account["state"]) for account in document["accounts"]] == [("acme", "sending")]
    [shown], [sync] = document["lists"], document["syncs"]
    assert (shown["list_name"], shown["wanted"], shown["on_list"], shown["failed"]) == ("ActiveUsers", 3, 3, 0)
    assert (sync["task_id"], sync["added"], sync["rejected"], sync["settled"]) == ("task-1", 3, 1, 3)


async def test_status_as_json_has_the_names_of_the_api(installation, cordial):
    """Whoever reads one reads the other: a program need not know whether the service runs."""
    own = {"service", "unfolded_users"}
    places = {"failure_groups": "failures/groups"}
    cordial.faults.add(Fault(FaultKind.ANSWER, contact=f"email:{USERS[0]}", times=None, status=422))
    installation.environment["HEAP_CORDIAL__ACCOUNTS__ACME__MAX_ATTEMPTS"] = "1"
    async with installation.serving():
        await installation.deliver("Active Users", USERS, task="task-1")
        await eventually(lambda: installation.figures("settled", "dead"), [2, 1])
        await installation.run("pause", "acme")
        await eventually(installation.account_states, ["paused"])
        # Since when is written down a moment after the pause.
        while (await installation.ask("accounts"))["items"][0]["since"] is None:
            pass
        document = msgspec.json.decode((await installation.run("status", "--json")).output)
        empty = []
        for name in document.keys() - own:
            items = (await installation.ask(places.get(name, name)))["items"]
            for ours, theirs in zip(document[name], items, strict=name != "conditions"):
                assert ours.keys() <= theirs.keys(), name
            empty += [] if items else [name]
        assert empty == ["imports"]
        [account], [asked] = document["accounts"], (await installation.ask("accounts"))["items"]
        assert account.keys() == asked.keys()
        steady = {name for name in account if not name.endswith("_per_second")}
        assert {name: account[name] for name in steady} == {name: asked[name] for name in steady}
        assert account["state"] == "paused_by_operator"
        [listed], [asked] = document["lists"], (await installation.ask("lists"))["items"]
        assert listed == {name: asked[name] for name in listed}


async def test_status_as_json_says_why_an_account_does_not_send(installation):
    dry_run = "HEAP_CORDIAL__ACCOUNTS__ACME__DRY_RUN"
    installation.environment[dry_run] = "true"
    async with installation.serving():
        await eventually(installation.account_states, ["paused"])
        document = msgspec.json.decode((await installation.run("status", "--json")).output)
        assert [each["state"] for each in document["accounts"]] == ["dry_run"]
        assert (await installation.ask("accounts"))["items"][0]["state"] == "dry_run"


async def test_status_says_why_a_list_is_held(installation, cordial):
    cordial.state.create_list("ActiveUsers", enhanced=True)
    async with installation.serving():
        await installation.deliver("Active Users", USERS[:1], task="task-1")
        await eventually(installation.list_states, ["held"])
        output = (await installation.run("status")).output
    assert ": Cordial already has a list ActiveUsers that this service did not create; " in output
    assert "adopt_existing_lists = true" in output


async def test_status_says_why_an_account_is_paused(installation):
    installation.key_file.write_text("another-key")
    async with installation.serving():
        await installation.deliver("Active Users", USERS[:1], task="task-1")
        await eventually(installation.account_states, ["paused"])
        # The condition is recorded within a second.
        shown = await installation.run("status")
        while "critical   account_stopped acme" not in shown.output:
            shown = await installation.run("status")
        document = msgspec.json.decode((await installation.run("status", "--json")).output)
        status, readiness = await installation.get("/readyz")
    assert (status, readiness) == (200, '{"status":"ready","degraded":["account_stopped"]}')
    assert shown.status == 1
    assert "Cordial rejects the API key for acme. Unauthorized: Access Denied" in shown.output
    assert "account    acme: stopped, unauthorized: Access Denied: Authentication Failure" in shown.output
    [told] = [each for each in document["conditions"] if each["id"] == "account_stopped"]
    assert (told["severity"], told["account"]) == ("critical", "acme")
