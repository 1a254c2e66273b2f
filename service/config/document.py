"""The text of a configuration: one TOML file and the environment laid over it, not yet checked."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.config.keys import ACCOUNTS, SECTIONS, SecretKey, ValueKey, keys_of
from service.config.settings import AccountSettings
from service.errors import ConfigurationError

ENVIRONMENT_PREFIX = "HEAP_CORDIAL__"
_SEPARATOR = "__"
# accounts, name, key: what stands deeper is an entry of a table such as list_names.
_ACCOUNT_KEY_DEPTH = 3

KeyPath = tuple[str, ...]


class Document:
    """Nested tables as TOML has them, and which environment variable set which of their keys."""

    def __init__(self, tables: dict[str, Any]) -> None:
        self.tables = tables
        self.variables: dict[KeyPath, str] = {}

    def label(self, path: KeyPath) -> str:
        """Name a key for messages: `server.port`, with the variable if one set it."""
        dotted = ".".join(path)
        variable = self.variables.get(path)
        return f"{dotted} (set by {variable})" if variable else dotted

    def overlay(self, environment: Mapping[str, str]) -> None:
        """Lay every `HEAP_CORDIAL__SECTION__KEY` over the tables, making tables as needed.

        Names that fit no key are laid in as well, so that they are reported like an unknown key of the file.
        """
        for variable in sorted(environment):
            if variable.startswith(ENVIRONMENT_PREFIX):
                path = self._path_of(variable.removeprefix(ENVIRONMENT_PREFIX).split(_SEPARATOR))
                self._put(path, _value_of(path, environment[variable]))
                self.variables[path] = variable

    def _path_of(self, parts: list[str]) -> KeyPath:
        path = [part.lower() for part in parts]
        if path[0] != ACCOUNTS or len(path) < _ACCOUNT_KEY_DEPTH:
            return tuple(path)
        accounts = _table(self.tables.get(ACCOUNTS))
        # A shell cannot export a name with a dash in it: MY_SHOP also reaches the account my-shop.
        path[1] = next((name for name in accounts if name.lower() == path[1]), None) or next(
            (name for name in accounts if name.lower().replace("-", "_") == path[1]), path[1]
        )
        if len(path) > _ACCOUNT_KEY_DEPTH:
            entries = _table(_table(accounts.get(path[1])).get(path[2]))
            written = _SEPARATOR.join(parts[_ACCOUNT_KEY_DEPTH:])
            entry = next((name for name in entries if name.lower() == written.lower()), written)
            path[_ACCOUNT_KEY_DEPTH:] = [entry]
        return tuple(path)

    def _put(self, path: KeyPath, value: object) -> None:
        table = self.tables
        for part in path[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                return  # the reader will say that a table belongs here
        table[path[-1]] = value


def read_document(path: Path | None, environment: Mapping[str, str]) -> Document:
    """Read the file, if there is one, and lay the environment over it.

    Raises `ConfigurationError` when the file cannot be read or is not TOML.
    """
    document = Document({} if path is None else _read_file(path))
    document.overlay(environment)
    return document


def _read_file(path: Path) -> dict[str, Any]:
    try:
        # Windows editors put a byte order mark first, which TOML does not know.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError([f"{path}: is not UTF-8 text"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([f"{path}: is not TOML: {error}"]) from error


def _value_of(path: KeyPath, text: str) -> object:
    """Read the text of a variable as its key wants it; where it cannot be, it stays text and is reported as such."""
    key = _key_at(path)
    if key is None or (isinstance(key, ValueKey) and key.is_text):
        return text
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    if parsed.keys() != {"value"}:
        return text
    value = parsed["value"]
    if isinstance(key, SecretKey) and not isinstance(value, list):
        return text
    return value


def _key_at(path: KeyPath) -> ValueKey | SecretKey | None:
    if path[0] == ACCOUNTS and len(path) == _ACCOUNT_KEY_DEPTH:
        return keys_of(AccountSettings).get(path[2])
    if path[0] in SECTIONS and len(path) == _ACCOUNT_KEY_DEPTH - 1:
        return keys_of(SECTIONS[path[0]]).get(path[1])
    return None


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
