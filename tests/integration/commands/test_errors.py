"""Where each command says that it failed: on standard error for people, and as one document of JSON for programs."""

import argparse
import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from service.__main__ import make_parser
from service.sandbox.faults import Fault, FaultKind
from tests.command_fixtures import Ended, eventually, run_command

USERS = ("jane.roe@example.com",)


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Give the parser of each command, and of each action of a command."""
    [*kinds] = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    for kind in kinds:
        for each in kind.choices.values():
            yield each
            yield from commands(each)


PARSERS = {each.prog.removeprefix("heap-cordial "): each for each in commands(make_parser())}
WITH_JSON = {name for name, each in PARSERS.items() if any("--json" in one.option_strings for one in each._actions)}
EXAMPLES = {
    name: shlex.split(re.findall(r"^  heap-cordial ([^>\n]+)", each.format_help(), re.MULTILINE)[0])
    for name, each in PARSERS.items()
}
WITHOUT_CONFIG = {"demo", "sandbox", "send", "init", "completion", "notices"}


def error_in(ended: Ended) -> dict[str, Any]:
    """Return the error that a program is told: the only thing on standard output."""
    document = json.loads(ended.output)
    assert list(document) == ["error"], ended
    assert document["error"]["code"], ended
    assert document["error"]["message"], ended
    # People who look at what a script did see it too.
    assert ended.errors, ended
    error: dict[str, Any] = document["error"]
    return error


@pytest.mark.parametrize("name", sorted(PARSERS))
async def test_a_wrong_argument_is_told_in_both_ways(name):
    """Also where the command has no --json: whoever asks for it must be able to read the answer."""
    for_people = await run_command(*name.split(), "--no-such-option")
    assert (for_people.status, for_people.output) == (2, ""), for_people
    assert "usage: heap-cordial" in for_people.errors
    for_programs = await run_command(*name.split(), "--json", "--no-such-option")
    assert for_programs.status == 2
    assert error_in(for_programs)["code"] == "usage"


@pytest.mark.parametrize("name", sorted(PARSERS.keys() - WITHOUT_CONFIG))
async def test_a_configuration_that_is_not_there_is_told_in_both_ways(name, tmp_path):
    file = str(tmp_path / "missing.toml")
    arguments = [file if each == "config.toml" else each for each in EXAMPLES[name]]
    assert file in arguments
    for_people = await run_command(*arguments)
    assert (for_people.status, for_people.output) == (2, ""), for_people
    assert file in for_people.errors
    if name in WITH_JSON:
        for_programs = await run_command(*arguments, "--json")
        assert for_programs.status == 2
        error = error_in(for_programs)
        assert (error["code"], file in error["message"]) == ("configuration", True)


LATIN = b"jos\xe9@example.com".decode(errors="surrogateescape")


@pytest.mark.parametrize(
    "arguments",
    [
        ("why", "Odd", LATIN),
        ("forget", LATIN),
        ("lists", f"--search={LATIN}"),
        ("trial", "--account", "acme", "--contact", LATIN),
    ],
)
async def test_what_is_not_written_in_utf_8_is_refused_before_anything_is_asked(arguments):
    refused = await run_command(*arguments, "--json")
    assert (refused.status, error_in(refused)["code"]) == (2, "usage")
    assert f"argument {len(arguments)} is not written in" in refused.errors
    assert "encoding, utf-8: " in refused.errors
    assert "jos\\xe9@example.com. Set the terminal and the locale to UTF-8" in refused.errors
    # The name of a file may be anything.
    missing = await run_command(*arguments[:1], *EXAMPLES[arguments[0]][1:], "--config", f"/nowhere/{LATIN}")
    assert "jos\\udce9@example.com" in missing.errors


# The service needs no other part of the machine for them, and what they need is not there.
FAILING: dict[str, tuple[str, ...]] = {
    "send": ("--url", "http://127.0.0.1:1/", "--secret-file", "/nowhere", "--segment", "x", "--add", "a@example.com"),
    "sandbox": ("--port", "70000"),
    "init": ("--account", "Acme Shop"),
    "backup": ("--to", "/nowhere/copy.db"),
    "restore": ("--from", "/nowhere/copy.db"),
    "notices test": (),
    "status": (),
}


@pytest.mark.parametrize("name", FAILING)
async def test_what_fails_on_this_machine_is_told_in_both_ways(installation, name):
    for_people = await installation.run(*name.split(), *FAILING[name])
    assert (for_people.status in {1, 2}, for_people.output, for_people.errors != "") == (True, "", True), for_people
    for_programs = await installation.run(*name.split(), *FAILING[name], "--json")
    assert for_programs.status == for_people.status
    assert error_in(for_programs)["code"] in {"failed", "usage"}


ASK_THE_SERVICE = sorted(
    PARSERS.keys() - WITHOUT_CONFIG - {*FAILING, "serve", "check", "notices test", "imports rejected"}
)


@pytest.mark.parametrize("name", ASK_THE_SERVICE)
async def test_a_service_that_is_not_there_is_told_in_both_ways(installation, name):
    arguments = [each for each in EXAMPLES[name] if each not in {"--config", "config.toml"}]
    if name in {"trial", "imports end-doubt"}:
        arguments.append("--yes")
    for_people = await installation.run(*arguments)
    assert (for_people.status, for_people.output) == (1, ""), for_people
    assert "is it running?" in for_people.errors
    if name in WITH_JSON:
        assert error_in(await installation.run(*arguments, "--json"))["code"] == "no_service"


async def test_what_the_service_refuses_has_the_code_of_the_api(installation, cordial):
    cordial.faults.add(Fault(FaultKind.ANSWER, method="GET", endpoint="/v2/accountlists", status=503, times=None))
    async with installation.serving():
        await installation.deliver("Active Users", USERS, task="task-1")
        await eventually(installation.account_states, ["paused"])
        refused = {
            ("approve", "--sync", "7"): ("not_found", 1),
            ("discard", "--sync", "7"): ("not_found", 1),
            ("verify", "1"): ("conflict", 1),
            ("lists", "--account", "nobodys"): ("failed", 1),
            ("why", "nothing", "jane@example.com"): ("failed", 1),
            ("retry",): ("usage", 2),
            ("trial", "--account", "acme"): ("usage", 2),
            # Nobody can answer the question.
            ("trial", "--account", "acme", "--contact", "a@example.com"): ("failed", 1),
            ("imports", "end-doubt", "9", "--job", "over"): ("failed", 1),
            ("imports", "end-doubt", "9", "--job", "over", "--yes"): ("not_found", 1),
        }
        for arguments, (code, status) in refused.items():
            ended = await installation.run(*arguments, "--json")
            assert (error_in(ended)["code"], ended.status) == (code, status), ended
            ended = await installation.run(*arguments)
            assert (ended.output, ended.status) == ("", status), ended
        other = installation.folder / "another-key"
        other.write_text("another key")
        installation.environment["HEAP_CORDIAL__SERVER__API_KEY_FILE"] = str(other)
        error = error_in(await installation.run("lists", "--json"))
        assert (error["code"], "The configuration" in error["message"] or "--config" in error["message"]) == (
            "unauthorized",
            True,
        )
