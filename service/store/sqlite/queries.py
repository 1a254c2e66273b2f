"""The SQL of the store: `.sql` files of named blocks, read once."""

import re
from importlib import resources

_WITH = re.compile(r"^-- with: (\w+)$", re.MULTILINE)
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load(file: str) -> dict[str, str]:
    """Return the named statements of `queries/<file>.sql`; the line `-- with: NAME` stands for the statement of that name."""
    text = (resources.files(__package__) / "queries" / f"{file}.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)
    found = {
        name: statement.strip().removesuffix(";") for name, statement in zip(parts[1::2], parts[2::2], strict=True)
    }

    def whole(name: str) -> str:
        return _WITH.sub(lambda part: whole(part[1]), found[name])

    return {name: whole(name) for name in found}


def migrations() -> list[tuple[int, str]]:
    """Return (number, script) of each migration, in order."""
    folder = resources.files(__package__) / "migrations"
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return [(int(entry.name.split("_", 1)[0]), entry.read_text(encoding="utf-8")) for entry in files]
