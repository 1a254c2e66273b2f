"""Completion in each shell as people have it: the script where its example puts it, then words and the tabulator key."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_fixtures import ROOT, clean_environment
from tests.terminal_fixtures import Terminal

# As the documents call it.
PROGRAM = Path(sys.executable).with_name("heap-cordial")
_PROMPT = "ready>"
TYPED = {
    "fai": "failures",
    "imports end": "end-doubt",
    "lists --accou": "--account",
    "lists --state inc": "incomplete",
    "export unus": "unusable",
    "completion z": "zsh",
    "lists --config {folder}/conf": "{folder}/config.toml",
}


@functools.cache
def script(shell: str) -> str:
    command = [sys.executable, "-m", "service", "completion", shell]
    return subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True).stdout


def environment(home: Path) -> dict[str, str]:
    # fish loads the completions only of programs that it finds there.
    path = f"{PROGRAM.parent}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(home), "ZDOTDIR": str(home), "LANG": "C.UTF-8"}


def is_shown(command: list[str], home: Path, typed: str, expected: str) -> bool:
    """Tell whether an interactive shell, which says when it is ready, shows what is expected when something is typed."""
    # So wide that what is typed and what is completed stay on one line.
    with Terminal(command, environment(home), home, columns=1_000) as terminal:
        if not terminal.shows(_PROMPT):
            return False
        terminal.type(typed)
        return terminal.shows(expected, after=_PROMPT)


def completed_by_bash(home: Path, typed: str, expected: str) -> bool:
    (home / "completion").write_text(script("bash"))
    (home / "rc").write_text(f"source {home}/completion; PS1='{_PROMPT}'\n")
    return is_shown(["bash", "--rcfile", str(home / "rc"), "-i"], home, f"{PROGRAM} {typed}\t", expected)


def completed_by_zsh(home: Path, typed: str, expected: str) -> bool:
    functions = home / "functions"
    functions.mkdir(exist_ok=True)
    (functions / "_heap-cordial").write_text(script("zsh"))
    (home / ".zshrc").write_text(
        f"fpath=({functions} $fpath); autoload -Uz compinit; compinit -u -D; PROMPT='{_PROMPT}'\n"
    )
    return is_shown(["zsh", "-i"], home, f"{PROGRAM} {typed}\t", expected)


def completed_by_fish(home: Path, typed: str, expected: str) -> bool:
    folder = home / ".config/fish/completions"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "heap-cordial.fish").write_text(script("fish"))
    asked = ["fish", "--command", f"complete --do-complete '{PROGRAM} {typed}'"]
    told = subprocess.run(asked, env=environment(home), cwd=home, capture_output=True, text=True, check=True).stdout
    return expected in [line.partition("\t")[0] for line in told.splitlines()]


COMPLETED = {"bash": completed_by_bash, "zsh": completed_by_zsh, "fish": completed_by_fish}


@pytest.mark.parametrize("shell", COMPLETED)
def test_words_are_completed(shell, tmp_path):
    if shutil.which(shell) is None and os.environ.get("HOST_TOOLS") != "required":
        pytest.skip(f"{shell} is not installed; `make container-system` installs it")
    (tmp_path / "config.toml").touch()
    missed = [
        typed
        for typed, expected in TYPED.items()
        if not COMPLETED[shell](tmp_path, typed.format(folder=tmp_path), expected.format(folder=tmp_path))
    ]
    assert missed == []
