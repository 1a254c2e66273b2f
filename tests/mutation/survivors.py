"""Mutants that may survive, each with the reason, from `survivors.txt`."""

from pathlib import Path

LISTED = Path(__file__).with_name("survivors.txt")


def listed(file: Path = LISTED) -> dict[str, str]:
    """Return the reason of each; a line that begins with `#` is the reason of those below it."""
    reasons: dict[str, str] = {}
    reason = ""
    was_reason = False
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            words = line.removeprefix("#").strip()
            reason = f"{reason} {words}" if was_reason else words
        elif line:
            reasons[line] = reason
        was_reason = line.startswith("#")
    return reasons
