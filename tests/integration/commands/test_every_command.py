"""What holds for each command, in each window, pipe and encoding: a new command is tried here without being named."""

import asyncio
import os
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Collection
from pathlib import Path

import aiohttp
import pytest

from service.sandbox.faults import Fault, FaultKind
from service.sandbox.heap_pages import build_pages, post_page
from tests.command_fixtures import WEBHOOK_SECRET, Ended, Installation, eventually
from tests.forking import ForkedProcess, read_to_end
from tests.integration.commands.test_errors import EXAMPLES, PARSERS

USERS = [f"user{number}@example.com" for number in range(20)]
BAD = "bad.one@example.com"
LONG_NAME = "Active Users of the last thirty days who bought something"
# They run on, or write files where they are started; their own tests look at them.
NOT_TRIED = {"serve", "demo", "sandbox", "init", "completion", "restore", "send"}
# Written whole, to be copied: calls to Cordial, rows of a file.
WHOLE = {"preview", "export"}
# With these arguments; the others with those of their first example.
ARGUMENTS: dict[str, list[str]] = {
    "backup": ["backup", "--to", "/nowhere/copy.db"],
    "imports rejected": ["imports", "rejected", "/nowhere/rows.csv"],
    "compare": ["compare", "Buyers", "/nowhere/export.csv"],
    "verify": ["verify", "Buyers", "--members", "--yes"],
    "failures": ["failures", "--each"],
    "lists": ["lists"],
    "syncs": ["syncs"],
    "imports": ["imports"],
    "why": ["why", LONG_NAME, BAD],
    "preview": ["preview", LONG_NAME],
    "approve": ["approve", "Taken 1"],
    "rebuild": ["rebuild", "Buyers"],
    "retry": ["retry", "--list", "Buyers"],
    "reload": ["reload"],
    "export": ["export", "syncs"],
}
# What they say differs each time, because they have done something.
STEERING = {
    "pause",
    "resume",
    "retry",
    "rebuild",
    "reload",
    "approve",
    "discard",
    "forget",
    "trial",
    "imports end-doubt",
}


def command(name: str) -> list[str]:
    return ARGUMENTS.get(name) or [each for each in EXAMPLES[name] if each not in {"--config", "config.toml"}]


# Those that do something come last: what the others tell is the same each time they are asked.
TRIED = sorted(PARSERS.keys() - NOT_TRIED - {"notices"}, key=lambda name: (name in STEERING, name))


async def deliver(
    installation: Installation, number: int, segment: str, add: Collection[str], remove: Collection[str] = ()
) -> None:
    [page] = build_pages(number, segment, list(add), list(remove), task_id=f"task-{segment}-{len(add)}", page_size=1000)
    async with aiohttp.ClientSession() as session:
        assert (await post_page(session, installation.webhook, WEBHOOK_SECRET, page)).status == 200


@pytest.fixture
async def busy(installation, cordial) -> AsyncIterator[Installation]:
    """A service with people who failed, unusable ids, lists that are held, a sync that is held, a refused request."""
    installation.environment |= {
        "HEAP_CORDIAL__ACCOUNTS__ACME__MAX_ATTEMPTS": "1",
        "HEAP_CORDIAL__ACCOUNTS__ACME__HOLD_REMOVALS": "{ share = 0.5, least = 1 }",
    }
    cordial.faults.add(Fault(FaultKind.ANSWER, contact=f"email:{BAD}", times=None, status=422))
    async with installation.serving(), aiohttp.ClientSession() as session:
        await deliver(installation, 1, LONG_NAME, [*USERS, BAD, "undefined"])
        await deliver(installation, 2, "Buyers", USERS[:5])
        await deliver(installation, 3, "日本のユーザー", USERS[:5])
        for number in range(5):
            cordial.state.create_list(f"Taken{number}", enhanced=True)
            await deliver(installation, 10 + number, f"Taken {number}", USERS[:3])
        async with session.post(installation.webhook, data=b"{}") as refused:
            assert refused.status == 415
        await eventually(lambda: states(installation), {"exact": 2, "held": 5, "incomplete": 1})
        await deliver(installation, 2, "Buyers", (), USERS[:5])
        await eventually(lambda: kinds(installation), {"list_held", "people_failed", "removals_held"})
        # What was sent a moment ago still counts as sending.
        await eventually(lambda: standing(installation), "waiting")
        yield installation


async def standing(installation: Installation) -> str:
    [account] = (await installation.ask("accounts"))["items"]
    return str(account["standing"])


async def states(installation: Installation) -> dict[str, int]:
    found = [each["standing"] for each in (await installation.ask("lists"))["items"]]
    return {state: found.count(state) for state in sorted(set(found))}


async def kinds(installation: Installation) -> set[str]:
    found = {each["id"] for each in (await installation.ask("conditions"))["items"]}
    return found & {"list_held", "people_failed", "removals_held"}


async def run_in(installation: Installation, name: str, **environment: str) -> Ended:
    before = dict(installation.environment)
    installation.environment |= environment
    try:
        return await installation.run(*command(name))
    finally:
        installation.environment = before


def words_of(ended: Ended) -> set[str]:
    """Return the words that are the same each time; lines and headings are set in another way in another window."""
    return {word for word in f"{ended.output} {ended.errors}".split() if not re.search(r"\d", word)}


async def test_what_is_said_fits_the_window_and_breaks_no_word(busy):
    for name in TRIED:
        wide = await run_in(busy, name, COLUMNS="10000")
        assert wide.output + wide.errors, name
        for width in (60, 120):
            narrow = await run_in(busy, name, COLUMNS=str(width))
            too_long = [
                line
                for line in f"{narrow.output}{narrow.errors}".splitlines()
                # A word that is longer than the window stays whole.
                if len(line) > width and len(line.split()) > 1
            ]
            assert name in WHOLE or not too_long, (name, width, too_long)
            if name not in STEERING:
                assert words_of(wide) <= words_of(narrow), (name, width)


async def read_and_closed(arguments: list[str], environment: dict[str, str]) -> tuple[int, bytes]:
    """Run a command whose reader has gone; return its exit status and what it complains of."""
    (output, output_end), (errors, errors_end) = os.pipe(), os.pipe()
    os.close(output)
    process = ForkedProcess(arguments, environment, output_end, errors_end)
    os.close(output_end)
    os.close(errors_end)
    complaints = await read_to_end(errors)
    return await process.wait(), complaints


async def on_a_full_disk(arguments: list[str], environment: dict[str, str]) -> tuple[int, bytes]:
    """Run a command that writes to a full disk; return its exit status and what it complains of."""
    errors, errors_end = os.pipe()
    with Path("/dev/full").open("wb") as full:  # noqa: ASYNC230  no disk to wait for
        process = ForkedProcess(arguments, environment, full.fileno(), errors_end)
    os.close(errors_end)
    complaints = await read_to_end(errors)
    return await process.wait(), complaints


async def test_a_reader_that_has_gone_ends_each_command_in_silence_and_a_full_disk_with_one_line(busy):
    for name in TRIED:
        usual = await busy.run(*command(name))
        status, complaints = await read_and_closed(command(name), busy.environment)
        assert b"Traceback" not in complaints, (name, complaints)
        if usual.output and name not in STEERING:
            assert (status, complaints) == (-signal.SIGPIPE, b""), name
    full = (74, b"standard output cannot be written: No space left on device\n")
    for arguments in [["lists"], ["status", "--json"], ["export", "audit"], ["completion", "zsh"], ["init", "--help"]]:
        assert await on_a_full_disk(arguments, busy.environment) == full, arguments


async def test_each_command_says_all_in_an_encoding_that_lacks_characters(busy):
    # Files are in UTF-8 wherever they are written.
    for name in [each for each in TRIED if each != "export"]:
        ended = await run_in(busy, name, PYTHONIOENCODING="ascii")
        assert "Traceback" not in ended.errors, (name, ended)
        assert ended.status in {0, 1}, (name, ended)
    assert "\\u65e5\\u672c" in (await run_in(busy, "deliveries", PYTHONIOENCODING="ascii")).output


async def test_the_interpreter_starts_as_well_in_the_poorest_locale(busy):
    """As a cron job has it."""
    program = shlex.join([sys.executable, "-m", "service", "deliveries"])
    process = await asyncio.create_subprocess_shell(
        f"{program} | head -1",
        env={**busy.environment, "LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert (output.split()[:2], errors) == ([b"RECEIVED", b"ACCOUNT"], b"")


async def test_many_of_a_kind_are_one_line_for_people_and_all_for_programs(busy):
    shown = await busy.run("conditions")
    each = await busy.run("conditions", "--all")
    programs = await busy.run("conditions", "--json")
    grouped = [line for line in shown.output.splitlines() if " list_held " in line]
    assert len(grouped) == 1
    assert "acme Taken 0, Taken 1, Taken 2 and 2 more" in grouped[0]
    assert "5 in all; the largest concerns 3 people." in grouped[0]
    assert shown.output.endswith("`heap-cordial conditions --all` shows each of them.\n")
    assert len([line for line in each.output.splitlines() if " list_held " in line]) == 5
    assert "--all" not in each.output
    assert programs.output.count('"id":"list_held"') == 5
    assert (await busy.run("status")).output.count(" list_held ") == 1


async def test_every_command_that_is_printed_reaches_the_same_service(busy, tmp_path):
    """Whoever copies it need not add the configuration, nor the program's name."""
    file = tmp_path / "a file.toml"
    file.write_text("")
    commands = {name.split()[0] for name in PARSERS}
    printed = set()
    for name in [each for each in TRIED if each not in STEERING | {"export"}]:
        ended = await busy.run(*command(name), "--config", str(file))
        for text in re.findall(r"`([^`]+)`", ended.output + ended.errors):
            assert text.split()[0] not in commands, (name, text)
            if text.startswith("heap-cordial "):
                printed.add(name)
                assert text.endswith(f" --config '{file}'"), (name, text)
        unquoted = re.sub(r"`[^`]+`", "", ended.output + ended.errors)
        assert not re.search(r"heap-cordial [a-z]", unquoted), (name, unquoted)
    assert {"conditions", "status", "verify"} <= printed


async def test_what_is_cut_short_and_what_is_held_for_another_reason_is_said(busy):
    cut = await busy.run("lists", "--limit", "2")
    assert cut.output.endswith("\nNo more than 2 are shown. For more, add --limit.\n")
    assert "are shown" not in (await busy.run("lists")).output
    approved = await busy.run("approve", "Taken 1")
    assert approved.status == 1
    assert approved.output.startswith(
        "Taken 1 does not wait for approval, but is held: Cordial already has a list Taken1 "
    )
