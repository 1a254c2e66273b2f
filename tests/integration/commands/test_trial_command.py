"""The command `trial`, as an operator uses it."""

import json
from pathlib import Path

from service.model.trial import POINT_TEXTS
from service.sandbox.state import SandboxState
from tests.command_fixtures import Installation

TRIAL = ("trial", "--account", "acme", "--contact", "ann@example.com", "--subscribed", "cleo@example.com")


def add_contacts(state: SandboxState) -> None:
    state.create_contact("email:ann@example.com", "ann@example.com")
    state.create_contact("email:cleo@example.com", "cleo@example.com").subscribe_status = "subscribed"


def by_file(installation: Installation) -> Installation:
    installation.environment["HEAP_CORDIAL__ACCOUNTS__ACME__PUBLIC_URL"] = installation.url
    return installation


async def test_it_says_what_it_will_do_and_does_nothing_unasked(installation, cordial):
    async with installation.serving():
        told = await installation.run(*TRIAL)
    assert (told.status, told.output) == (1, "")
    assert "creates up to three lists" in told.errors
    assert "sets memberships of ann@example.com, cleo@example.com on those lists and on no others" in told.errors
    assert cordial.state.lists == {}


async def test_it_shows_what_it_saw_what_to_do_and_what_it_leaves(installation, cordial):
    add_contacts(cordial.state)
    async with by_file(installation).serving():
        none = await installation.run("trial", "--account", "acme", "--show")
        told = await installation.run(*TRIAL, "--yes")
        shown = await installation.run("trial", "--account", "acme", "--show", "--json")
    assert (none.status, none.output) == (1, "No trial of this account yet.\n")
    rows = {line[:22].strip(): line for line in told.output.splitlines()}
    assert "as documented" in rows["file updates"]
    assert 'the new contact has the status "none"' in rows["call creates"]
    # The stand-in of the commands' tests has no limits to tell of.
    assert "otherwise" in rows["limits told"]
    assert told.status == 1
    assert "  what to do: Nothing is wrong: Cordial shows its limit only when it is reached." in told.output
    assert "  limits_told: not shown while calls succeed" in told.output
    assert "Files are still not used" not in told.output
    left = [line.split()[1] for line in told.output.splitlines() if line.startswith("  list ")]
    assert sorted(left) == sorted(cordial.state.lists_by_name)
    assert {each["point"]: each["outcome"] for each in json.loads(shown.output)["results"]}[
        "file_creates"
    ] == "as_documented"


async def test_a_trial_that_leaves_files_untried_says_what_that_means(installation, cordial):
    """It has found nothing wrong, and still the service sends no file."""
    cordial.state.create_contact("email:ann@example.com", "ann@example.com")
    async with by_file(installation).serving():
        told = await installation.run(*TRIAL, "--yes")
        shown = await installation.run("trial", "--account", "acme", "--show")
    for ended in (told, shown):
        assert "the contact given as subscribed is not subscribed in Cordial" in ended.output
        assert "so nothing is known of subscribed contacts; subscribe it in Cordial, then try again" in ended.output
        assert "Files are still not used: no trial has shown that they subscribe nobody." in ended.output


async def test_it_needs_the_running_service_and_a_contact(installation):
    without = await installation.run("trial", "--account", "acme")
    stopped = await installation.run(*TRIAL, "--yes")
    assert without.status == 2
    assert without.errors.startswith("Name at least one test contact")
    assert stopped.status == 1
    assert "is it running?" in stopped.errors


def test_every_point_is_explained():
    text = (Path(__file__).parents[3] / "docs/trial.md").read_text(encoding="utf-8")
    assert [point for point in POINT_TEXTS if f"| {point.value.replace('_', ' ')} |" not in text] == []
