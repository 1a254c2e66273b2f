"""How this machine reaches Python's packages, to be lent to a build and kept out of what it makes."""

import ast
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.container.base_root import UnprovableError
from tests.container.containerfile import ROOT

# Engines pass these to every RUN and keep them out of the image.
_PROXY_VARIABLES = {f"{name}_proxy" for name in ("http", "https", "no", "all")}


class PackageAccess(NamedTuple):
    """`variables` for the build's environment, `paths` for the files and directories that they name."""

    variables: dict[str, str]
    paths: list[Path]


def package_access() -> PackageAccess:
    """Return what pip is configured with here.

    Raises `UnprovableError` when that does not lead to the packages.
    """
    with tempfile.TemporaryDirectory() as folder:
        lock = ROOT / "requirements/build.lock"
        tried = _pip("download", "--quiet", "--require-hashes", "--requirement", str(lock), "--dest", folder)
    if tried.returncode:
        raise UnprovableError(f"Python's packages are out of reach: {tried.stderr[-500:]}")
    variables = {
        f"PIP_{name.upper().replace('-', '_')}": " ".join(str(ast.literal_eval(value)).split())
        for name, value in re.findall(r"(?m)^(?:global|install|:env:)\.([\w-]+)=(.*)$", _pip("config", "list").stdout)
    }
    variables |= {name: value for name, value in os.environ.items() if name.lower() in _PROXY_VARIABLES}
    values = " ".join(variables.values())
    named = [Path(path) for path in re.findall(r"(?:^|\s)(/\S*)", values)]
    # An index of local files links to packages that lie beside it.
    beside = [Path(path).parent for path in re.findall(r"file://(/\S*)", values)]
    wanted = [Path("/etc/resolv.conf"), Path("/etc/hosts"), *named, *beside]
    return PackageAccess(variables, [path for path in dict.fromkeys(wanted) if path.exists()])


def _pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, check=False)
