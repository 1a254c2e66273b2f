"""Commands as people see them: on a terminal, with questions, a screen that is drawn again, and Ctrl-C."""

import re
import sys

import pytest

from service.sandbox.faults import Fault, FaultKind
from tests.command_fixtures import ROOT, Installation, eventually
from tests.terminal_fixtures import Terminal

USERS = ("jane.roe@example.com", "john.doe@example.com")
LONG_NAME = "Active Users of the last thirty days who bought something"


def on_terminal(installation: Installation, *arguments: str, rows: int = 24, columns: int = 80) -> Terminal:
    command = [sys.executable, "-m", "service", *arguments]
    return Terminal(command, installation.environment, ROOT, rows=rows, columns=columns)


@pytest.mark.parametrize("answer", ["n", "", "y"])
async def test_a_question_is_answered_on_the_terminal(installation, cordial, answer):
    async with installation.serving():
        with on_terminal(installation, "trial", "--account", "acme", "--contact", "a@example.com") as terminal:
            assert terminal.shows("Go ahead? [y/N]")
            assert cordial.state.lists == {}
            terminal.type(f"{answer}\n")
            if answer == "y":
                await eventually(lambda: has_lists(cordial), expected=True)
            else:
                assert terminal.shows("Nothing was done.")
                assert terminal.ended() == 1
                assert cordial.state.lists == {}


async def has_lists(cordial) -> bool:
    return bool(cordial.state.lists)


async def test_the_screen_that_is_watched_fits_the_terminal_until_ctrl_c(installation):
    async with installation.serving():
        await installation.deliver(LONG_NAME, USERS, task="task-1")
        await eventually(lambda: installation.figures("settled"), [2])
        with on_terminal(installation, "status", "--watch", rows=12, columns=60) as terminal:
            assert terminal.shows("account    acme: ready")
            # Drawn again, so that one is whole.
            assert terminal.until(lambda: terminal.raw.count("\x1b[J") > 1)
            screen = terminal.raw.split("\x1b[H")[1].partition("\x1b[J")[0]
            terminal.type("\x03")
            assert terminal.ended() == 0
            assert "Traceback" not in terminal.shown
    lines = [re.sub(r"\x1b\[K|\r", "", line) for line in screen.splitlines()]
    assert 0 < len(lines) < 12
    assert max(map(len, lines)) <= 60


async def test_ctrl_c_ends_a_command_that_waits_without_a_traceback(installation, cordial):
    cordial.faults.add(Fault(FaultKind.HANG, seconds=600, times=None))
    arguments = ("trial", "--account", "acme", "--contact", "a@example.com", "--yes")
    async with installation.serving():
        with on_terminal(installation, *arguments) as terminal:
            assert terminal.shows("trying lists")
            terminal.type("\x03")
            assert terminal.ended() == 130
            assert "Traceback" not in terminal.shown
