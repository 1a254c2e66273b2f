import re

import msgspec
import pytest

from service.sandbox.faults import Fault, FaultKind
from tests.command_fixtures import Ended, Installation, eventually

PAUSED = "Nothing is sent for acme until somebody resumes it: `heap-cordial resume acme`.\n"
USERS = ("jane.roe@example.com", "john.doe@example.com", "bad.one@example.com")


async def test_failures_are_seen_and_tried_again(installation, cordial):
    refusal = Fault(FaultKind.ANSWER, contact="email:bad.one@example.com", times=None, status=422)
    cordial.faults.add(refusal)
    installation.environment["HEAP_CORDIAL__ACCOUNTS__ACME__MAX_ATTEMPTS"] = "1"
    async with installation.serving():
        await installation.deliver("Active Users", USERS, task="task-1")
        await eventually(lambda: installation.figures("settled", "dead"), [2, 1])
        groups = (await installation.run("failures")).output
        each = (await installation.run("failures", "--each")).output
        cordial.faults.clear()
        await installation.run("pause", "acme")
        retried = await installation.run("retry", "--reason", "refused")
        assert (retried.status, retried.output) == (0, f"1 change will be sent again.\n{PAUSED}")
        assert await installation.figures("settled", "pending") == [2, 1]
        await installation.run("resume", "acme")
        await eventually(lambda: installation.figures("settled", "dead"), [3, 0])
        empty = await installation.run("failures")
    assert "The contact cannot be written." in groups
    assert "bad.one@example.com" in each
    assert (empty.status, empty.output) == (0, "No failures.\n")


async def test_a_list_changed_by_others_is_found_and_mended(installation, cordial):
    async with installation.serving():
        await installation.deliver("Active Users", USERS, task="task-1")
        await eventually(lambda: installation.figures("settled"), [3])
        exact = await installation.run("verify", "ActiveUsers")
        cordial.state.lists_by_name["ActiveUsers"].members.popitem()
        differs = await installation.run("verify", "ActiveUsers")
        mended = await installation.run("rebuild", "ActiveUsers", "--wait")
        again = await installation.run("verify", "ActiveUsers")
    assert (exact.status, exact.output) == (0, "ActiveUsers is exact: Cordial counts 3.\n")
    assert differs.status == 1
    assert differs.output.startswith("ActiveUsers differs: Cordial counts 2, 3 should be there.")
    assert (mended.status, again.status) == (0, 0)
    assert cordial.state.members("ActiveUsers") == sorted(USERS)


async def test_what_waits_for_cordials_rate_limit_is_not_called_sending(installation, cordial):
    headers = {"Retry-After": "3600"}
    cordial.faults.add(Fault(FaultKind.ANSWER, method="POST", endpoint="/v2/contacts", status=429, headers=headers))
    async with installation.serving():
        await installation.deliver("Active Users", USERS, task="task-1")

        async def is_slowed() -> bool:
            return "acme: slowed" in (await installation.run("status")).output

        await eventually(is_slowed, expected=True)
        for command in ("status", "lists", "syncs"):
            assert "slowed by Cordial" in (await installation.run(command)).output, command


async def test_a_paused_account_sends_nothing_until_it_is_resumed(installation, cordial):
    async with installation.serving():
        paused = await installation.run("pause", "acme")
        await installation.deliver("Active Users", USERS, task="task-1")
        await eventually(lambda: installation.figures("members", "settled", "pending"), [3, 0, 3])
        status = (await installation.run("status")).output
        waiting = [(await installation.run(command)).output for command in ("lists", "syncs")]
        assert cordial.state.contacts == {}
        preview = await installation.run("preview", "Active Users")
        resumed = await installation.run("resume", "acme")
        await eventually(lambda: installation.figures("settled"), [3])
        lists, syncs = await installation.run("lists"), await installation.run("syncs")
        nobodys = await installation.run("retry", "--account", "nobodys")
        await installation.run("pause", "acme")
        rebuilt = await installation.run("rebuild", "ActiveUsers")
    assert nobodys.status == 1
    assert nobodys.errors.startswith("there is no account nobodys; there are acme\n")
    assert (paused.output, resumed.output) == ("acme is paused.\n", "acme sends again.\n")
    assert rebuilt.output == f"3 memberships of ActiveUsers will be sent again.\n{PAUSED}"
    assert f"dry run    no. {PAUSED}" in preview.output
    assert "account    acme: paused by an operator" in status
    # Nowhere is it said to be sending.
    assert re.search(r"(?m)^\S.* acme .* 0 +3 +0  paused$", status), status
    assert re.search(r" acme +paused +3 ", waiting[0]), waiting[0]
    assert re.search(r" paused +1 of 1 ", waiting[1]), waiting[1]
    assert re.search(r"(?m)^ *1  ActiveUsers  acme +(exact|not counted) +3 ", lists.output)
    assert "1 of 1" in syncs.output


@pytest.mark.parametrize("key", [None, ""])
async def test_without_an_api_key_they_say_what_to_set(installation, key):
    if key is None:
        installation.environment.pop("HEAP_CORDIAL__SERVER__API_KEY_FILE")
    else:
        installation.environment["HEAP_CORDIAL__SERVER__API_KEY_FILE"] = key
    ended = await installation.run("pause", "acme")
    assert ended.status == 1
    assert ended.errors.startswith("no API key is configured; set server.api_key_file or server.api_key_env, or add ")


async def test_without_the_service_they_say_so(installation):
    ended = await installation.run("lists")
    assert ended.status == 1
    assert ended.errors.startswith(
        f"no service answers at {installation.url}/api/v1: Connection refused; is it running?\n"
    )


async def test_an_approval_during_a_dry_run_says_that_nothing_is_sent_yet(installation, cordial):
    installation.environment |= {
        "HEAP_CORDIAL__ACCOUNTS__ACME__HOLD_NEW_SEGMENTS": "true",
        "HEAP_CORDIAL__ACCOUNTS__ACME__DRY_RUN": "true",
    }
    async with installation.serving():
        await installation.deliver("Active Users", USERS, task="task-1")
        await eventually(installation.list_states, ["held"])
        approved = await installation.run("approve", "Active Users")
        tried = await installation.run("resume", "acme")
        await installation.run("pause", "acme")
        resumed = await installation.run("resume", "acme")
    assert approved.status == 0
    assert tried.output.startswith(
        "acme was not paused by a person. What keeps it from sending, or from using files, is"
    )
    assert resumed.output.startswith("acme is not paused any more.\nNothing is sent for acme until its dry run ends: ")
    words = "Active Users is approved.\nNothing is sent for acme until its dry run ends: "
    assert approved.output.startswith(words)
    assert "heap-cordial reload" in approved.output
    assert cordial.state.lists == {}


async def test_a_new_segment_is_held_until_it_is_approved(installation, cordial):
    installation.environment["HEAP_CORDIAL__ACCOUNTS__ACME__HOLD_NEW_SEGMENTS"] = "true"
    async with installation.serving():
        await installation.deliver("Active Users", USERS, task="task-1")
        await eventually(installation.list_states, ["held"])
        status = await installation.run("status")
        preview = await installation.run("preview", "Active Users")
        approved = await installation.run("approve", "Active Users")
        await eventually(lambda: installation.figures("settled"), [3])
        again = await installation.run("approve", "ActiveUsers")
    assert "Active Users: a new segment, held until you approve it" in status.output
    assert (approved.status, approved.output) == (0, "Active Users is approved and will be sent.\n")
    assert "dry run    no, but the list is held: none of this is sent\n" in preview.output
    assert again.output == "ActiveUsers did not wait for approval.\n"
    assert cordial.state.members("ActiveUsers") == sorted(USERS)


@pytest.mark.parametrize("decision", ["approve", "discard"])
async def test_a_sync_held_for_its_removals_waits_over_a_kill_for_a_decision(installation, cordial, decision):
    installation.environment["HEAP_CORDIAL__ACCOUNTS__ACME__HOLD_REMOVALS"] = "{ share = 0.5, least = 1 }"
    async with installation.serving(killed=True):
        await installation.deliver("Active Users", USERS, task="task-1")
        await eventually(lambda: installation.figures("settled"), [3])
        await installation.deliver("Active Users", (), USERS[:2], task="task-2")

        async def held() -> int:
            shown = await installation.run("syncs", "--state", "held")
            return int(shown.output.count("ActiveUsers"))

        await eventually(held, 1)
    async with installation.serving():
        await installation.deliver("Active Users", ("new@example.com",), task="task-3")
        await eventually(held, 1)
        preview, shown = await installation.run("preview", "ActiveUsers"), await installation.run("status")
        assert ": 1 of 1 pages, +1 -0, waits for an earlier sync of the segment\n" in shown.output
        assert ": 1 of 1 pages, +0 -2, held\n" in shown.output
        assert "not counted: 3 users in syncs that are held" in preview.output
        assert "being processed" not in preview.output
        status, verified = await installation.run("status"), await installation.run("verify", "ActiveUsers")
        assert await installation.figures("settled", "pending") == [3, 0]
        decided = await installation.run(decision, "--sync", "2")
        again = await installation.run(decision, "--sync", "2")
        wanted = [*USERS[2:], "new@example.com"] if decision == "approve" else [*USERS, "new@example.com"]
        await eventually(lambda: installation.figures("settled", "pending"), [len(wanted), 0])
        repeated = await installation.deliver("Active Users", (), USERS[:2], task="task-2")
        unknown = await installation.run(decision, "--sync", "9")
    assert "Sync 2 would remove 2 of 3 people." in status.output
    assert (verified.status, "a sync is held" in verified.output) == (1, True)
    words = {
        "approve": "Sync 2, which removes 2 of 3 people, is approved and will be sent.\n",
        "discard": "Sync 2 is discarded. It would have removed 2 of 3 people.\n",
    }
    assert (decided.status, decided.output) == (0, words[decision])
    assert again.output == "Sync 2 was not held.\n"
    assert (unknown.status, unknown.errors) == (1, "there is no sync with this id\n")
    assert repeated.status == 200
    assert cordial.state.members("ActiveUsers") == sorted(wanted)


async def test_a_list_is_found_by_any_name_and_by_its_id(installation):
    """A segment may be called 2024, or have the longest name that Heap allows."""
    names = ["2024", "x" * 255]
    async with installation.serving():
        for number, name in enumerate(names, 7):
            await installation.deliver(name, USERS, task=f"task-{number}", segment_id=number)
        await eventually(lambda: installation.figures("settled"), [3, 3])
        for name in (*names, "1", "2"):
            assert (await installation.run("why", name, USERS[0])).status == 0, name
        unknown = await installation.run("verify", "3")
    assert (unknown.status, unknown.errors.partition(";")[0]) == (1, "there is no list or segment named 3")


async def test_a_number_that_is_one_lists_id_and_anothers_name_is_asked_about(installation):
    """Nothing is done to the wrong one of them, and each can be named."""
    async with installation.serving():
        await installation.deliver("Readers", USERS, task="task-1", segment_id=7)
        await installation.deliver("1", USERS[:2], task="task-2", segment_id=8)
        await eventually(lambda: installation.figures("settled"), [3, 2])
        asked = [await installation.run(*each) for each in (("verify", "1"), ("syncs", "--list", "1"))]
        named = [(await installation.run("why", name, USERS[0])).output.splitlines()[1] for name in ("id:1", "id:2")]
    words = "several lists are called 1; name one by its id: id:1 (acme Readers), id:2 (acme 1)\n"
    assert [(each.status, each.output, each.errors) for each in asked] == [(1, "", words)] * 2
    assert [each.split()[-1] for each in named] == ["Readers", "1"]


async def _conditions_with(installation: Installation, name: str) -> Ended:
    while name not in (shown := await installation.run("conditions")).output:
        pass
    return shown


async def test_conditions_are_shown_with_what_to_do_and_under_the_apis_names(installation, cordial):
    async with installation.serving():
        await installation.deliver("Active Users", USERS, task="task-1")
        await eventually(lambda: installation.figures("settled"), [3])
        before = await installation.run("conditions")
        await installation.run("pause", "acme")
        shown = await _conditions_with(installation, "account_paused")
        file = installation.folder / "a file.toml"
        file.write_text("")
        named = [await installation.run(command, "--config", str(file)) for command in ("conditions", "status")]
        document = await installation.run("conditions", "--json")
        # Whoever only reads, as `check` does, finds nothing wrong.
        cordial.faults.add(*(Fault(FaultKind.ANSWER, method=each, times=None, status=401) for each in ("POST", "PUT")))
        await installation.run("resume", "acme")
        await installation.deliver("Active Users", ("new@example.com",), task="task-2")
        critical = await _conditions_with(installation, "account_stopped")
        checked = await installation.run("check")
    assert "warning: service: Cordial does not serve the account; see `heap-cordial conditions" in checked.errors
    assert (checked.status, "All is well" in checked.output) == (0, False)
    assert "account_paused" not in before.output
    assert (shown.status, critical.status) == (0, 1)
    # What it is, what follows from it, what to do, and the command for that.
    words = "A person paused the account (acme). Its changes wait. Resume the account when it may send again. `heap-cordial resume acme`\n"
    assert words in shown.output
    # As printed, it goes to the same service.
    assert [f"heap-cordial resume acme --config '{file}'" in each.output for each in named] == [True, True]
    # And Cordial's own words between them.
    words = r"Cordial rejects the API key for acme\. Unauthorized: .+\. The service has stopped sending for it\. Its changes wait\. "
    assert re.search(words, critical.output)
    [paused] = [
        each for each in map(msgspec.json.decode, document.output.splitlines()) if each["id"] == "account_paused"
    ]
    assert (paused["severity"], paused["account"], paused["command"]) == ("warning", "acme", "heap-cordial resume acme")
