"""From a clone on a bare machine to a synced segment, by what README.md says, as a user without rights.

A Debian root with what README.md asks for (Python, make, git) and nothing else; needs what `test_image.py` needs.
"""

import itertools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container.base_root import UnprovableError, base_root
from tests.container.confinement import run_in
from tests.container.containerfile import ROOT
from tests.container.package_access import package_access
from tests.ports import free_port

SCRIPT = Path(__file__).with_name("first_try.sh")
USER_ID = 1000
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/newcomer", "LANG": "C.UTF-8"}
# The repository is somebody else's, which git asks about.
GIT_CONFIGURATION = "[safe]\n    directory = *\n"


@pytest.fixture
def bare_machine() -> Iterator[Path]:
    base = base_root()
    with tempfile.TemporaryDirectory(dir=base.parent, prefix="newcomer-") as folder:
        root = Path(folder) / "root"
        subprocess.run(["cp", "--archive", "--reflink=auto", str(base), str(root)], check=True)  # noqa: S607  as found
        install = "apt-get update -qq && apt-get install -y -qq --no-install-recommends git make"
        apt = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}
        names = [Path("/etc/resolv.conf"), Path("/etc/hosts")]
        ended = run_in(root, ["sh", "-c", install], apt, directory="/", user="0:0", lend=names)
        if ended.returncode:
            raise UnprovableError(f"git and make could not be installed: {ended.stdout[-500:]}")
        home = root / "home/newcomer"
        home.mkdir()
        configuration = home / ".gitconfig"
        configuration.write_text(GIT_CONFIGURATION)
        # A checkout may be a worktree, whose repository is elsewhere.
        copy = ["git", "clone", "--quiet", "--bare", "--depth", "1", f"file://{ROOT}", str(home / "repository")]
        subprocess.run(copy, env={**os.environ, "GIT_CONFIG_GLOBAL": str(configuration)}, check=True)
        os.chown(home, USER_ID, USER_ID)
        yield root


def seconds_of_steps(output: str) -> dict[str, int]:
    marks = [(int(at), name) for at, name in re.findall(r"(?m)^STEP (\d+) (.*)$", output)]
    return {name: later - at for (at, name), (later, _) in itertools.pairwise(marks)}


def test_somebody_new_comes_from_a_clone_to_a_synced_segment(capfd, request):
    try:
        root = request.getfixturevalue("bare_machine")
        access = package_access()
    except UnprovableError as reason:
        if os.environ.get("HOST_TOOLS") == "required":
            raise
        pytest.skip(str(reason))
    shutil.copy(SCRIPT, root / "home/newcomer/first_try.sh")
    ended = run_in(
        root,
        ["sh", "first_try.sh", "/home/newcomer/repository", str(free_port()), str(free_port())],
        ENVIRONMENT | access.variables,
        directory="/home/newcomer",
        user=f"{USER_ID}:{USER_ID}",
        lend=access.paths,
    )
    assert ended.returncode == 0, ended.stdout[-3_000:]
    assert "All is well: configuration, store, and Cordial's answer for acme." in ended.stdout
    assert "ActiveUsers is exact: Cordial counts 250." in ended.stdout
    steps = seconds_of_steps(ended.stdout)
    assert len(steps) == 8
    with capfd.disabled():
        print("\n" + "\n".join(f"{seconds:5} s  {name}" for name, seconds in steps.items()))  # noqa: T201
