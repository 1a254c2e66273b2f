"""Writes the part of docs/operations.md that explains each condition, and the dashboard's copy; `make docs` runs it."""

import re
from pathlib import Path

from service.model.conditions import CATALOGUE

_ROOT = Path(__file__).parents[1]
OPERATIONS = _ROOT / "docs/operations.md"
# The dashboard shows it where there are no documents.
COPY = _ROOT / "service/observe/dashboard/operations.md"
_BEGIN = "<!-- Made by `make docs` from service/model/conditions.py. -->\n"
_END = "<!-- The end of what `make docs` makes. -->\n"


def reference() -> str:
    """Return the part in Markdown."""
    parts = []
    for name, kind in CATALOGUE.items():
        command = kind.command.format(account="ACCOUNT", list="LIST")
        anchor = re.sub(r"[^a-z0-9 _-]", "", kind.part.lower()).replace(" ", "-")
        help_with = f" `{command}`." if command else ""
        parts.append(
            f"### {name}\n\n**{kind.severity.value}**. {kind.meaning} **Do**: {kind.what_to_do}{help_with} "
            f"More: [{kind.part}](#{anchor}).\n"
        )
    return "\n".join(parts)


def with_reference(operations: str) -> str:
    """Return the document with the part as it should be."""
    before, _, rest = operations.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{reference()}\n{_END}{after}"


if __name__ == "__main__":
    OPERATIONS.write_text(with_reference(OPERATIONS.read_text(encoding="utf-8")), encoding="utf-8")
    COPY.write_text(OPERATIONS.read_text(encoding="utf-8"), encoding="utf-8")
