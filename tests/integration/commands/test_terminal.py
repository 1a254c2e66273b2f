"""The terminal as people and programs use it: exports, pipes, narrow windows, other encodings, JSON, completion."""

import argparse
import csv
import json
import re
import shlex
import subprocess
import sys

import pytest

from service import __version__
from service.__main__ import make_parser
from service.commands.terminal import table
from service.sandbox.faults import Fault, FaultKind
from tests.command_fixtures import ROOT, clean_environment, eventually, run_command

USERS = ("jane.roe@example.com", "bad.one@example.com")


async def deliver_with_a_failure(installation, cordial) -> None:
    cordial.faults.add(Fault(FaultKind.ANSWER, contact="email:bad.one@example.com", times=None, status=422))
    installation.environment["HEAP_CORDIAL__ACCOUNTS__ACME__MAX_ATTEMPTS"] = "1"


async def test_tables_are_exported_to_a_file_of_ones_own_or_to_a_pipe(installation, cordial):
    await deliver_with_a_failure(installation, cordial)
    file = installation.folder / "failures.csv"
    async with installation.serving():
        await installation.deliver("Café Users", USERS, task="task-1")
        await eventually(lambda: installation.figures("settled", "dead"), [1, 1])
        written = await installation.run("export", "failures", "--to", str(file))
        again = await installation.run("export", "failures", "--to", str(file))
        members = await installation.run("export", "members", "--list", "Café Users", "--format", "ndjson")
        without_list = await installation.run("export", "members")
        misplaced = await installation.run("export", "audit", "--reason", "refused")
    assert (written.status, written.output) == (0, "")
    assert file.stat().st_mode & 0o777 == 0o600
    [row] = csv.DictReader(file.read_text().splitlines())
    assert row["contact"] == "email:bad.one@example.com"
    assert (again.status, again.errors) == (1, f"{file} cannot be created: File exists\n")
    assert {json.loads(line)["contact"] for line in members.output.splitlines()} == {f"email:{user}" for user in USERS}
    assert (without_list.status, without_list.errors) == (2, "say whose members to write: add --list\n")
    assert (misplaced.status, misplaced.errors) == (2, "--reason cannot be used with audit\n")


def on_what(line: str) -> str:
    """Return the third column of a line of `audit`."""
    return re.split(r"  +", line)[2]


async def test_who_did_what_and_why_somebody_is_not_on_the_list(installation, cordial):
    await deliver_with_a_failure(installation, cordial)
    async with installation.serving():
        await installation.deliver("Active Users", USERS, task="task-1")
        await eventually(lambda: installation.figures("settled", "dead"), [1, 1])
        paused = await installation.run("pause", "acme", "--json")
        nothing = await installation.run("retry", "--list", "ActiveUsers", "--reason", "nothing")
        of_no_failure = await installation.run("retry", "--id", "999")
        await installation.run("verify", "ActiveUsers")
        audit = await installation.run("audit")
        deliveries = await installation.run("deliveries")
        on_list = await installation.run("why", "ActiveUsers", "Jane.Roe@example.com")
        refused = await installation.run("why", "ActiveUsers", "bad.one@example.com")
        unknown = await installation.run("why", "ActiveUsers", "nobody@example.com")
        as_json = await installation.run("why", "ActiveUsers", "nobody@example.com", "--json")
    assert (nothing.status, nothing.output) == (0, "No failed change matches.\n")
    assert (of_no_failure.status, of_no_failure.output) == (1, "No failed change matches.\n")
    words = ["Nothing is sent for acme until somebody resumes it: `heap-cordial resume acme`."]
    assert json.loads(paused.output) == {"account": "acme", "paused": True, "changed": True, "kept_back": words}
    assert [on_what(line) for line in audit.output.splitlines()[1:]] == [
        "list 1 (Active Users)",
        "1 failure",
        "list 1 (Active Users), reason nothing",
        "acme",
    ]
    assert "task-1" in deliveries.output
    assert "in Cordial on the list" in on_list.output
    assert "in Cordial not known: the last change failed\n" in refused.output
    assert "in Heap    in the segment" in refused.output
    assert "The contact cannot be written." in refused.output
    assert "not on the list by this service" in unknown.output
    assert json.loads(as_json.output)["state"] == "never_named"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_table_fits_the_window_and_breaks_no_word(width):
    headings = ("ID", "LIST", "CONTACT", "STATE", "REASON", "CORDIAL'S WORDS")
    words = "The contact cannot be written because its address is not valid"
    rows = [(1, "ActiveUsers", "email:jane@example.com", "dead", "refused", words)]
    lines = table(headings, rows, width)
    assert max(map(len, lines)) <= width
    shown = " ".join(" ".join(lines).split())
    for word in words.split():
        assert word in shown.split()
    assert table(headings, rows, sys.maxsize)[1].endswith(words)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service", *arguments]
    return subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True)


def test_the_version_is_told():
    assert run("--version").stdout == f"heap-cordial {__version__}\n"


def test_examples_are_in_the_help():
    assert "heap-cordial export failures --list ActiveUsers --to failures.csv" in run("export", "--help").stdout


def test_each_command_that_prints_something_prints_it_as_json_too():
    """But what prints a script, a log or a show, and `export`, whose rows are NDJSON."""

    def without(parser: argparse.ArgumentParser, name: str = "") -> list[str]:
        [*kinds] = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
        below = [found for kind in kinds for own, each in kind.choices.items() for found in without(each, own)]
        has = any("--json" in each.option_strings for each in parser._actions)
        return below + ([] if has or kinds else [name])

    assert sorted(without(make_parser())) == ["completion", "demo", "export", "serve"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("retry", "--account", ""), "--account is empty"),
        (("retry", "--list="), "--list is empty"),
        (("forget", "jane@example.com", "--account", ""), "--account is empty"),
        (("verify", ""), "argument 2 is empty"),
        (("export", "failures", "--reason", ""), "--reason is empty"),
    ],
)
async def test_an_empty_argument_does_not_mean_all(installation, arguments, words):
    """A script's variable that is not set must not send, erase or show everything."""
    ended = await installation.run(*arguments)
    assert (ended.status, words in ended.errors) == (2, True), ended


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
async def test_json_is_json_in_whatever_encoding_the_terminal_has(installation, encoding):
    installation.environment["PYTHONIOENCODING"] = encoding
    async with installation.serving():
        await installation.deliver("Über 日本 🎉", USERS[:1], task="task-1")
        await eventually(lambda: installation.figures("settled"), [1])
        ended = await installation.run("lists", "--json")
    assert json.loads(ended.output)["segment_name"] == "Über 日本 🎉"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lists", "--account", "nobodys"), "there is no account nobodys; there are acme"),
        (("syncs", "--account", "nobodys"), "there is no account nobodys; there are acme"),
        (("pause", "nobodys"), "there is no account nobodys; there are acme"),
        (("lists", "--limit", "0"), "0 is not a whole number from 1"),
        (("deliveries", "--limit=-3"), "-3 is not a whole number from 1"),
        (("preview", "1", "--calls", "0"), "0 is not a whole number from 1"),
        (("why", "Nobody's", "jane@example.com"), "there is no list or segment named Nobody's"),
    ],
)
async def test_what_cannot_be_meant_is_told(installation, arguments, words):
    async with installation.serving():
        ended = await installation.run(*arguments)
    assert (ended.status in {1, 2}, words in ended.errors) == (True, True), ended


async def test_nothing_that_matches_is_not_nothing_at_all(installation):
    async with installation.serving():
        await installation.deliver("Active Users", USERS, task="task-1")
        await eventually(lambda: installation.figures("settled"), [2])
        shown = [
            (await installation.run(*command)).output
            for command in (
                ("lists", "--search", "zzz"),
                ("lists", "--state", "exact"),
                ("syncs", "--state", "held"),
                ("failures", "--reason", "zzz"),
            )
        ]
    assert shown == ["No list matches.\n", "No list matches.\n", "No sync matches.\n", "No failure matches.\n"]


async def test_the_configuration_is_named_where_it_may_be_the_wrong_one(installation, tmp_path):
    """A command that is given another file, or none, must not send people to look for the fault elsewhere."""
    for command in (["lists"], ["status"], ["check"], ["verify", "1"], ["backup", "--to", str(tmp_path / "copy")]):
        ended = await run_command(*command)
        assert (ended.status, "add --config FILE" in ended.errors) == (2, True), ended
    (tmp_path / "config.toml").write_text("")
    named = f"The configuration is {tmp_path}/config.toml. If it is the wrong one, give another with --config FILE."
    assert named in (await run_command("lists", "--config", str(tmp_path / "config.toml"))).errors
    missing = await run_command("lists", "--config", str(tmp_path / "missing.toml"))
    assert f"The configuration is {tmp_path}/missing.toml" in missing.errors
    for command in (["lists"], ["pause", "acme"], ["status"]):
        ended = await installation.run(*command)
        assert "add --config FILE" in ended.output + ended.errors, ended
    async with installation.serving():
        other = tmp_path / "another-key"
        other.write_text("another key")
        installation.environment["HEAP_CORDIAL__SERVER__API_KEY_FILE"] = str(other)
        refused = await installation.run("lists")
    assert refused.errors.startswith("this API key is not valid\n")
    assert "add --config FILE" in refused.errors


def test_every_command_shows_examples_that_it_understands():
    parser = make_parser()
    [commands] = [action.choices for action in parser._actions if isinstance(action.choices, dict)]
    assert len(commands) > 30
    for name, command in commands.items():
        examples = re.findall(r"^  heap-cordial (.+)$", command.format_help().partition("examples:\n")[2], re.MULTILINE)
        assert examples, name
        for example in examples:
            words = shlex.split(example.partition(" > ")[0])
            assert words[0] == name
            # Ends the process if anything of it is not understood.
            parser.parse_args(words)


def test_help_fits_a_narrow_window(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    [commands] = [action.choices for action in make_parser()._actions if isinstance(action.choices, dict)]
    for name, command in commands.items():
        # Examples are for copying, and stay whole.
        text, _, _ = command.format_help().partition("examples:\n")
        assert max(map(len, text.splitlines())) <= 60, name
