"""What the terminal says of changes that travel as files."""

import re
from collections.abc import Collection

import aiohttp
import msgspec
import pytest

from service.sandbox.faults import Fault, FaultKind
from service.sandbox.heap_pages import build_pages, post_page
from service.sandbox.imports.faults import ImportFault
from service.store.sqlite.reading import Reader
from tests.api_names import answer_of, differences
from tests.command_fixtures import API_KEY, WEBHOOK_SECRET, Installation, eventually

USERS = tuple(f"user{number}@example.com" for number in range(20))


@pytest.fixture
def by_file(installation: Installation) -> Installation:
    installation.environment["HEAP_CORDIAL__ACCOUNTS__ACME__PUBLIC_URL"] = installation.url
    installation.environment["HEAP_CORDIAL__ACCOUNTS__ACME__BULK_THRESHOLD"] = "10"
    installation.environment["HEAP_CORDIAL__ACCOUNTS__ACME__BULK_UNTESTED"] = "true"
    return installation


async def has_a_job(installation: Installation) -> bool:
    reader = await Reader.open(installation.database, connections=1)
    try:
        return any(part.job_id for each in await reader.imports(limit=1) for part in each.parts)
    finally:
        await reader.close()


async def is_in_doubt(installation: Installation) -> bool:
    return "in doubt" in (await installation.run("imports")).output


async def test_a_running_import_is_shown_by_imports_and_status(by_file, cordial):
    cordial.imports.faults.add(ImportFault(ends="never"))
    async with by_file.serving():
        assert (await by_file.run("imports")).output == "No import: single calls do all the work.\n"
        await by_file.deliver("Active Users", USERS, task="task-1")
        await eventually(lambda: has_a_job(by_file), expected=True)
        shown = await by_file.run("imports")
        status = await by_file.run("status")
        tables = [(await by_file.run(name)).output for name in ("lists", "syncs")]
    # As the dashboard says it.
    assert ["in a file" in each for each in tables] == [True, True]
    assert "account    acme: in a file" in status.output.splitlines()
    assert re.search(r"(?m)^ActiveUsers +acme .* in a file$", status.output), "the list's row says the same"
    [job_id] = cordial.imports.jobs
    row, part = shown.output.splitlines()[1:]
    assert row.split()[3:] == ["acme", "ActiveUsers", "sending", "20", "0", "0", "1"]
    assert part == f"import 1: 20 contacts running, job {job_id}"
    assert (
        f"import     acme: sending 20 contacts of ActiveUsers, Cordial's job {job_id}, 0 done, since 20"
        in status.output
    )


async def test_all_who_tell_of_a_list_tell_the_same_of_it(by_file, cordial):
    """Page, `status`, `lists` and metrics: some refused, unusable, in a page that is missing, in a file, and overtaken."""
    by_file.environment["HEAP_CORDIAL__ACCOUNTS__ACME__MAX_ATTEMPTS"] = "1"
    cordial.imports.faults.add(ImportFault(ends="never"))
    cordial.faults.add(Fault(FaultKind.ANSWER, contact="email:bad@example.com", times=None, status=422))

    key = {"Authorization": aiohttp.encode_basic_auth(API_KEY, "")}

    async def sums() -> list[int]:
        names = ("on_list", "failed", "unusable", "to_add", "to_remove", "overtaken")
        found = await by_file.ask("lists/1/sum")
        return [*(found[name] for name in names), len(found["missing_pages"])]

    async with by_file.serving(), aiohttp.ClientSession() as session:

        async def measured() -> list[int]:
            async with session.get(f"{by_file.url}/metrics", headers=key) as answer:
                lines = [line for line in (await answer.text()).splitlines() if line[0] != "#"]
            names = ("backlog{", 'dead_letters{account="acme"', 'import_contacts{account="acme"')
            return [
                sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith(f"heap_cordial_{name}"))
                for name in names
            ]

        async def post(task: str, add: Collection[str], remove: Collection[str] = (), page_size: int = 1000) -> None:
            first, *_ = build_pages(1, "Ten", list(add), list(remove), task_id=task, page_size=page_size)
            assert (await post_page(session, by_file.webhook, WEBHOOK_SECRET, first)).status == 200

        await post("task-1", [*USERS[:6], "bad@example.com", "undefined"])
        await eventually(sums, [6, 1, 1, 0, 0, 0, 0])
        await by_file.run("pause", "acme")
        await post("task-2", (), USERS[:1])
        await post("task-3", USERS[:1])
        await by_file.run("resume", "acme")
        await eventually(sums, [6, 1, 1, 0, 0, 1, 0])
        await post("task-4", USERS[7:])
        await eventually(lambda: has_a_job(by_file), expected=True)
        await post("task-5", [USERS[6], "missing@example.com"], page_size=1)
        await eventually(sums, [6, 1, 1, 14, 0, 1, 1])
        told = [
            (await by_file.run(*command)).output for command in (("lists", "--json"), ("status", "--json"), ("status",))
        ]
        overview = await by_file.ask("overview")
        # What is read from the store for them is a few seconds old at most.
        await eventually(measured, [14, 1, 13])
    listed, known = msgspec.json.decode(told[0]), msgspec.json.decode(told[1])["lists"][0]
    names = ("wanted", "on_list", "pending", "waiting", "failed", "unnamed")
    assert [[each[name] for name in names] for each in (listed, known)] == [[21, 6, 14, 0, 1, 0]] * 2
    assert re.search(r"(?m)^Ten +acme +21 +6 +14 +1 +incomplete$", told[2])
    assert (overview["to_send"], overview["failed"], overview["accounts"][0]["to_send"]) == (14, 1, 14)


async def test_an_import_that_failed_is_shown_with_its_reason(by_file, cordial):
    cordial.imports.faults.add(ImportFault(times=None, reject_share=1.0))
    async with by_file.serving():
        await by_file.deliver("Active Users", USERS, task="task-1")
        await eventually(lambda: by_file.figures("settled"), [20])
        shown = await by_file.run("imports", "--list", "ActiveUsers")
        none = await by_file.run("imports", "--state", "sending")
        status = await by_file.run("status")
    assert shown.output.splitlines()[1].split()[5:] == ["ended", "20", "0", "20", "1"]
    assert "Cordial refused or did not count 20 rows of 20" in shown.output
    assert none.output.startswith("No import")
    assert "\nimport " not in status.output


async def test_a_person_says_what_became_of_a_job_in_doubt(by_file, cordial):
    cordial.imports.faults.add(ImportFault(held_seconds=600))
    cordial.faults.add(Fault(FaultKind.APPLY_THEN_RESET, endpoint="/v2/contactimports", seconds=0.5))
    async with by_file.serving():
        await by_file.deliver("Active Users", USERS, task="task-1")
        await eventually(lambda: is_in_doubt(by_file), expected=True)
        shown = await by_file.run("imports")
        # As the dashboard says it.
        assert re.search(r"(?m)^ *1 .* ActiveUsers +in doubt +20 ", shown.output), shown.output
        assert "acme: in doubt, 20 contacts of ActiveUsers" in (await by_file.run("status")).output
        why = (await by_file.run("why", "ActiveUsers", USERS[0])).output
        assert "look for its job in Cordial, then say what you saw: `heap-cordial imports end-doubt 1 --help`" in why
        for_programs = msgspec.json.decode((await by_file.run("imports", "--json")).output)
        api = msgspec.json.decode((await by_file.get("/openapi.json"))[1])
        assert differences(for_programs, answer_of("GET /imports items", api), api) == set()
        unasked = await by_file.run("imports", "end-doubt", "1", "--job", "over")
        assert await is_in_doubt(by_file)
        told = await by_file.run("imports", "end-doubt", "1", "--job", "never-started", "--yes")
        await eventually(lambda: by_file.figures("settled"), [20])
        again = await by_file.run("imports", "end-doubt", "1", "--job", "over", "--yes")
    assert "when you know what happened to it: `heap-cordial imports end-doubt 1 --help`" in shown.output
    assert unasked.status == 1
    assert unasked.errors.endswith(
        "Are you sure? Nothing was done, because nobody can answer here. To go ahead, add --yes.\n"
    )
    assert (told.status, told.output.strip()) == (0, "20 contacts are sent by single calls.")
    assert (again.status, again.errors) == (1, "there is no import with this id, or it is over\n")


async def test_the_file_of_rejected_rows_from_cordials_pages_names_them(by_file, cordial, tmp_path):
    users = tuple(f"person{number}@example.com" for number in range(200))
    cordial.imports.refused_addresses.update(users[:3])
    for user in users[:3]:
        cordial.faults.add(Fault(FaultKind.HANG, contact=f"email:{user}", times=None, seconds=600))
    file = tmp_path / "rejected.csv"
    file.write_text(
        f"Row,Email,Reason\n7,{users[0]},invalid\n9, {users[1].upper()} ,invalid\n11,{users[2]},x\n", "utf-8"
    )
    async with by_file.serving():
        none = await by_file.run("imports", "rejected", str(file))
        await by_file.deliver("Active Users", users, task="task-1")
        await eventually(lambda: by_file.figures("settled", "confirmed"), [200, 197])
        shown = await by_file.run("lists")
        why = await by_file.run("why", "ActiveUsers", users[0])
        status = await by_file.run("status")
        told = await by_file.run("imports", "rejected", str(file))
        unreadable = await by_file.run("imports", "rejected", str(tmp_path / "none.csv"))
        await eventually(lambda: by_file.figures("settled", "confirmed", "dead"), [197, 197, 3])
    assert (none.status, none.errors) == (1, "no import has rows without a name\n")
    assert "ActiveUsers: 3 more people were refused in a file, and have no name yet" in shown.output
    assert "in Cordial not known" in why.output
    row = next(line for line in status.output.splitlines() if line.startswith("ActiveUsers"))
    wanted, on_list = map(int, row.split()[2:4])
    # However far the search has come.
    assert wanted - on_list >= 3
    assert told.output == "3 of 3 addresses named; `heap-cordial failures` has them. No call was made.\n"
    assert unreadable.status == 1
