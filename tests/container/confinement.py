"""Shell prefixes that confine a process to another root, with its own mounts and processes where that is permitted."""

import functools
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

# --kill-child: nothing that is confined outlives whoever started it.
_OWN_MOUNTS = ["unshare", "--mount", "--fork", "--kill-child"]
OWN_MOUNTS_AND_PROCESSES = [*_OWN_MOUNTS, "--pid"]


@functools.cache
def refused_namespaces() -> str:
    """Return why this machine permits no mounts or processes of one's own; empty if it does."""
    attempt = [*OWN_MOUNTS_AND_PROCESSES, "sh", "-c", "mount -t tmpfs tmpfs /mnt && mount -o remount,ro /mnt"]
    try:
        tried = subprocess.run(attempt, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unshare is not installed"
    return tried.stderr.strip() if tried.returncode else ""


def run_in(
    root: Path,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    directory: str,
    user: str,
    lend: Sequence[Path],
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end inside `root`, with nothing of the surroundings but `lend`.

    `lend`: files and directories that the command sees at the same place as outside. They are mounted; where no
    mounts are permitted, files are copied and directories left out.
    """
    inside = enter(root, command, environment, directory=directory, user=user)
    prefix = [] if refused_namespaces() else _OWN_MOUNTS
    show = 'test -d "$2" || cp "$2" "$1$2"' if refused_namespaces() else 'mount --bind -o ro "$2" "$1$2"'
    script = f'while [ "$2" != -- ]; do {show}; root=$1; shift 2; set -- "$root" "$@"; done; shift 2; exec "$@"'
    created = [made for path in lend for made in _make_place(root, path)]
    try:
        return subprocess.run(
            [*prefix, "sh", "-euc", script, "sh", str(root), *map(str, lend), "--", *inside],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    finally:
        for path in reversed(created):
            path.rmdir() if path.is_dir() else path.unlink()


def enter(
    root: Path, command: Sequence[str], environment: Mapping[str, str], *, directory: str, user: str
) -> list[str]:
    """Return the words that run a command inside `root` as `user` ("0:0"), with this environment and no other."""
    variables = [f"{name}={value}" for name, value in environment.items()]
    return [
        *("setpriv", "--no-new-privs", "chroot", f"--userspec={user}", "--groups=", str(root)),
        *("env", "--ignore-environment", f"--chdir={directory}", *variables, *command),
    ]


def _make_place(root: Path, path: Path) -> list[Path]:
    """Make what a mount needs to cover, and return it, outermost first."""
    place = root / path.relative_to("/")
    missing = [each for each in [*reversed(place.parents), place] if not each.exists()]
    for each in missing:
        if each == place and path.is_file():
            each.touch()
        else:
            each.mkdir()
    return missing
