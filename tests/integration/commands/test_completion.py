"""Completion in each shell as people have it: the script where its example puts it, then words and the tabulator key."""

import contextlib
import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.command_fixtures import PATIENCE_SECONDS, ROOT, clean_environment

# As the documents call it.
PROGRAM = Path(sys.executable).with_name("heap-cordial")
_PROMPT = "ready>"
_READ_BYTES = 65_536
# What is typed and what is completed stay on one line.
_ROWS_AND_COLUMNS = (24, 1_000)
# What a terminal obeys and does not show.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r")
TYPED = {
    "fai": "failures",
    "imports end": "end-doubt",
    "lists --accou": "--account",
    "lists --state unres": "unresolved",
    "export unus": "unusable",
    "completion z": "zsh",
    "lists --config {folder}/conf": "{folder}/config.toml",
}


def script(shell: str) -> str:
    command = [sys.executable, "-m", "service", "completion", shell]
    return subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True).stdout


def environment(home: Path) -> dict[str, str]:
    # fish loads the completions only of programs that it finds there.
    path = f"{PROGRAM.parent}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(home), "TERM": "dumb", "ZDOTDIR": str(home), "LANG": "C.UTF-8"}


def is_shown(command: list[str], home: Path, typed: str, expected: str) -> bool:
    """Tell whether an interactive shell, which says when it is ready, shows what is expected when something is typed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *_ROWS_AND_COLUMNS, 0, 0))
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(home), cwd=home, start_new_session=True
    )
    os.close(theirs)
    shown, deadline = "", time.monotonic() + PATIENCE_SECONDS
    try:
        is_typed = False
        while time.monotonic() < deadline and expected not in shown.rpartition(_PROMPT)[2]:
            if select.select([ours], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):
                    shown = _CONTROL.sub("", shown + os.read(ours, _READ_BYTES).decode(errors="replace"))
            if not is_typed and _PROMPT in shown:
                os.write(ours, typed.encode())
                is_typed = True
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return expected in shown.rpartition(_PROMPT)[2]


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
