"""What a build may copy: the files of the repository, as far as .containerignore lets them through.

As for an engine, files that are new and not committed yet belong to it; a fresh checkout has none of those.
"""

import subprocess
from pathlib import Path

from tests.container.containerfile import ROOT

# Git holds no such files, so this rule needs no carrying out.
_WITHOUT_EFFECT = {"**/__pycache__/"}


def context_files() -> list[Path]:
    """Return the paths, relative to the repository; raises `ValueError` for rules of a form not used so far."""
    rules = [
        line
        for line in (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    taken = {rule[1:].rstrip("/") for rule in rules if rule.startswith("!")}
    others = [rule for rule in rules if not rule.startswith("!") and rule not in _WITHOUT_EFFECT]
    if rules[0] != "*" or others != ["*"] or any("/" in name or "*" in name for name in taken):
        raise ValueError("a rule of .containerignore is not understood here")
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [Path(name) for name in listed.split("\0") if name]
    # A file that was deleted and not yet committed is listed and not there.
    return [path for path in paths if path.parts[0] in taken and (ROOT / path).is_file()]
