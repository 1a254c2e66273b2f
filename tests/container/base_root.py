"""A clean root file system from Debian's packages, in the place of the base image that an engine would fetch."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.container.containerfile import ROOT

_SUITE = "bookworm"
_PACKAGES = "python3,python3-venv"
# Under build/, which neither git nor the image takes, and which `make clean` removes.
_CACHE = ROOT / "build" / f"clean-root-{_SUITE}"
_ENOUGH_SECONDS = 600


class UnprovableError(Exception):
    """This machine cannot run the proof; the message says what it lacks."""


def base_root() -> Path:
    """Return a root with Debian's Python, made on first use and kept.

    Raises `UnprovableError` without root, the tool or Debian's mirror.
    """
    if os.geteuid() != 0:
        raise UnprovableError("only root can make a clean root and change into it")
    _CACHE.parent.mkdir(exist_ok=True)
    # Tests run side by side: the first makes it, the others wait.
    with (_CACHE.parent / "clean-root.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _CACHE.exists():
            _make()
    return _CACHE


def _make() -> None:
    tool = shutil.which("mmdebstrap")
    if tool is None:
        raise UnprovableError("mmdebstrap is missing; as root on Debian: make container-system")
    with tempfile.TemporaryDirectory(dir=_CACHE.parent) as folder:
        root = Path(folder) / "root"
        command = [tool, "--quiet", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, str(root)]
        made = subprocess.run(command, capture_output=True, text=True, timeout=_ENOUGH_SECONDS, check=False)
        if made.returncode:
            raise UnprovableError(f"no clean root could be made: {made.stderr[-500:]}")
        # Official Python images have their interpreter under this name, before anything else on the path.
        (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        root.rename(_CACHE)
