"""Writes `docs/configuration.md`: types, bounds and defaults from the settings, explanations from `config.toml`.

Both sources are held against each other by the tests of the configuration, so there is nothing here to keep in step.
"""

import itertools
import json
import re
from pathlib import Path

import msgspec

from service.config.keys import ACCOUNTS, API_KEYS, NOTICES, SECTIONS, SecretKey, ValueKey, keys_of
from service.config.reading import ENVIRONMENT_PREFIX
from service.config.reloading import takes_effect_by_reload
from service.config.settings import AccountSettings, ApiKeySettings, NoticeSettings

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs/configuration.md"

_INTRODUCTION = """\
# Configuration

Every key of the configuration: what it means, its default, its bounds, its environment variable, and whether a change needs
a restart. `make docs` makes this document from [config.toml](../config.toml) and the settings in the code; change it there. For all
keys:
"""
_TABLES: dict[str, type[msgspec.Struct]] = {
    **SECTIONS,
    f"{API_KEYS}.marketing": ApiKeySettings,
    f"{NOTICES}.ops": NoticeSettings,
    f"{ACCOUNTS}.acme": AccountSettings,
}
_HEADER = re.compile(r"#?\[([\w.]+)\]")
_KEY = re.compile(r"#?(\w+) = ")
# In a comment: an example to be copied, not prose.
_EXAMPLE = re.compile(r"\w+ = .*\Z| {4}\S")


class Block(msgspec.Struct):
    """A comment of `config.toml`, without the `#`, and the keys that stand below it."""

    comment: list[str] = []
    keys: list[str] = []


def reference(shipped: str) -> str:
    """Return the document for `shipped`, the text of `config.toml`; raises `KeyError` for a key that no setting has."""
    general, tables = _read(shipped)
    lines = [*_INTRODUCTION.splitlines(), "", *(f"> {line}".rstrip() for line in _prose(general))]
    for name, blocks in tables.items():
        lines += ["", f"## [{name}]"]
        keys = keys_of(_TABLES[name])
        for block in blocks:
            if block.keys:
                lines += ["", "### " + ", ".join(f"`{key}`" for key in block.keys)]
            lines += ["", *_prose(block.comment)]
            lines += ["", *(_facts(name, keys[key]) for key in block.keys)] if block.keys else []
    return "\n".join(lines) + "\n"


def _read(shipped: str) -> tuple[list[str], dict[str, list[Block]]]:
    """Return the comment at the top without its title, and the blocks of each table, that of the table itself first."""
    tables: dict[str, list[Block]] = {}
    blocks: list[Block] = []
    block = Block()
    # The comment at the top ends with the first empty line.
    top, _, rest = shipped.partition("\n\n")
    for line in rest.splitlines():
        if header := _HEADER.match(line):
            blocks = tables[header[1]] = [block] if block.comment else []
            block = Block()
        elif key := _KEY.match(line):
            if not block.keys:
                blocks.append(block)
            block.keys.append(key[1])
        elif line:
            block.comment.append(_without_sign(line))
        else:
            block = Block() if block.keys else block
    return [_without_sign(line) for line in top.splitlines()[2:]], tables


def _without_sign(line: str) -> str:
    return line.removeprefix("#").removeprefix(" ")


def _prose(comment: list[str]) -> list[str]:
    """Return the comment as Markdown, with its examples set off as code."""
    lines: list[str] = []
    for is_example, group in itertools.groupby(comment, lambda line: bool(_EXAMPLE.match(line))):
        text = [line.strip() for line in group]
        lines += ["", "```text", *text, "```", ""] if is_example else text
    return lines[:-1] if lines[-1] == "" else lines


def _facts(table: str, key: ValueKey | SecretKey) -> str:
    variable = ENVIRONMENT_PREFIX + "__".join([*table.split("."), key.name]).upper()
    at_once = takes_effect_by_reload(table.split(".", maxsplit=1)[0], key.name)
    change = "SIGHUP applies a change" if at_once else "a change needs a restart"
    return f"- {_default(table, key)}; {key.expectation}; {change}; `{variable}`"


def _default(table: str, key: ValueKey | SecretKey) -> str:
    if isinstance(key, SecretKey):
        return f"`{key.name}`: " + ("required, this or the other" if key.required else "none by default")
    defaults = {field.name: field for field in msgspec.structs.fields(_TABLES[table])}[key.name]
    if defaults.required:
        return f"`{key.name}`: required"
    value = defaults.default_factory() if defaults.default is msgspec.NODEFAULT else defaults.default
    return f"`{key.name} = {_toml(value)}` by default"


def _toml(value: object) -> str:
    """Return a value as it stands in TOML; JSON writes text, numbers, truth and empty tables the same way."""
    if isinstance(value, msgspec.Struct):
        entries = ", ".join(f"{name} = {_toml(entry)}" for name, entry in msgspec.structs.asdict(value).items())
        return f"{{ {entries} }}"
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    TARGET.write_text(reference((ROOT / "config.toml").read_text(encoding="utf-8")), encoding="utf-8")
