"""From one TOML file and the environment laid over it to checked values; every fault is gathered, none stops at the first."""

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from service.config.files import read_small_file
from service.config.keys import NAMED, SECTIONS, SecretKey, ValueKey, keys_of, secret_stems
from service.config.settings import SecretReference
from service.errors import ConfigurationError

ENVIRONMENT_PREFIX = "HEAP_CORDIAL__"
_SEPARATOR = "__"
# accounts, name, key: what stands deeper is an entry of a table such as list_names.
_NAMED_KEY_DEPTH = 3

_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SECRET_IN_CLEAR = re.compile(r"(secret|api_?key|password)s?\Z|\Akey\Z", re.IGNORECASE)
_ECHOED_CHARACTERS = 60
# A customer's token: no key to anything by itself, yet nobody's business in a log.
UNECHOED_KEYS = frozenset({"heap_id_token"})

KeyPath = tuple[str, ...]


class Document:
    """Nested tables as TOML has them, and which environment variable set which of their keys.

    `folder` is where relative paths start: the configuration file's. None: there is no file.
    """

    def __init__(self, tables: dict[str, Any], folder: Path | None) -> None:
        self.tables = tables
        self.folder = folder
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
        if path[0] not in NAMED or len(path) < _NAMED_KEY_DEPTH:
            return tuple(path)
        named = _table(self.tables.get(path[0]))
        # A shell cannot export a name with a dash in it: MY_SHOP also reaches the account my-shop.
        path[1] = next((name for name in named if name.lower() == path[1]), None) or next(
            (name for name in named if name.lower().replace("-", "_") == path[1]), path[1]
        )
        if len(path) > _NAMED_KEY_DEPTH:
            entries = _table(_table(named.get(path[1])).get(path[2]))
            written = _SEPARATOR.join(parts[_NAMED_KEY_DEPTH:])
            entry = next((name for name in entries if name.lower() == written.lower()), written)
            path[_NAMED_KEY_DEPTH:] = [entry]
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
    document = Document({}, None) if path is None else Document(_read_file(path), path.absolute().parent)
    document.overlay(environment)
    return document


def _read_file(path: Path) -> dict[str, Any]:
    try:
        # Windows editors put a byte order mark first, which TOML does not know.
        return tomllib.loads(read_small_file(path).decode("utf-8-sig"))
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError([f"{path}: is not UTF-8 text"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([f"{path}: is not TOML: {error}"]) from error


def _value_of(path: KeyPath, text: str) -> object:
    """Read the text of a variable as its key wants it; where it cannot be, it stays text and is reported as such."""
    key = _key_at(path) or _table_with(path)
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
    if path[0] in NAMED and len(path) == _NAMED_KEY_DEPTH:
        return keys_of(NAMED[path[0]]).get(path[2])
    if path[0] in SECTIONS and len(path) == _NAMED_KEY_DEPTH - 1:
        return keys_of(SECTIONS[path[0]]).get(path[1])
    return None


def _table_with(path: KeyPath) -> ValueKey | None:
    """Return the key whose table has this entry, if its entries are of known types."""
    key = _key_at(path[:-1]) if len(path) > 1 else None
    return key if isinstance(key, ValueKey) and key.has_known_entries else None


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


class Faults:
    """Everything wrong with one document, one line each, with the key and what would be right."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.lines: list[str] = []

    def add(self, path: KeyPath, text: str) -> None:
        """Note a fault of the key at `path`; `text` must hold no secret."""
        self.lines.append(f"{self._document.label(path)}: {text}")

    def located(self, path: KeyPath, file: str) -> str:
        """Return the path of a file in full; one that is relative starts from the configuration file's folder.

        Never from the folder in which a command happens to be run: two commands with one configuration would then mean
        two stores. Where no such folder is known, and in a variable, a relative path is a fault.
        """
        folder = None if path in self._document.variables else self._document.folder
        if Path(file).is_absolute():
            return file
        if folder is None:
            # Not echoed: a secret may have been put where its place belongs.
            self.add(path, "must be an absolute path: only a path in a configuration file may be relative")
            return file
        return str(folder / file)

    def unknown(self, path: KeyPath, known: Iterable[str]) -> None:
        """Note a key that does not exist, with the nearest one that does."""
        known = list(known)
        near = difflib.get_close_matches(path[-1].lower(), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known here are {', '.join(known)}"
        self.add(path, f"there is no such key; {hint}")


def read_fields(settings: type[msgspec.Struct], table: object, path: KeyPath, faults: Faults) -> dict[str, Any]:
    """Return the fields of `settings` that `table` sets rightly; each other key of it becomes a fault."""
    if not isinstance(table, dict):
        faults.add(path, "must be a table")
        return {}
    keys = keys_of(settings)
    for name in table:
        if name not in keys:
            _report_unknown(settings, (*path, name), faults)
    fields: dict[str, Any] = {}
    for key in keys.values():
        if isinstance(key, ValueKey) and key.name in table:
            try:
                fields[key.name] = msgspec.convert(table[key.name], key.type)
            except msgspec.ValidationError:
                echo = "" if key.name in UNECHOED_KEYS else f", not {_echo(table[key.name])}"
                faults.add((*path, key.name), f"must be {key.expectation}{echo}")
        if isinstance(key, ValueKey) and key.is_path and (file := fields.get(key.name, key.default)):
            fields[key.name] = faults.located((*path, key.name), file)
    for stem in secret_stems(settings):
        fields |= _read_secret(settings, stem, table, path, faults)
    return fields


def _report_unknown(settings: type[msgspec.Struct], path: KeyPath, faults: Faults) -> None:
    stems = secret_stems(settings)
    if stems and _SECRET_IN_CLEAR.search(path[-1]):
        stem = difflib.get_close_matches(path[-1], stems, n=1, cutoff=0)[0]
        faults.add(
            path,
            "the configuration must not contain a secret; "
            f"put it into a file and name the file with {stem}_file, or into an environment variable and use {stem}_env",
        )
    else:
        faults.unknown(path, keys_of(settings))


def _read_secret(
    settings: type[msgspec.Struct], stem: str, table: dict[str, Any], path: KeyPath, faults: Faults
) -> dict[str, Any]:
    """Return the field that the keys of one secret fill, unless there is a fault."""
    references: list[SecretReference] = []
    keys = [key for key in keys_of(settings).values() if isinstance(key, SecretKey) and key.stem == stem]
    faults_before = len(faults.lines)
    for key in keys:
        places = _places(key, table.get(key.name, ""))
        if places is None:
            # Not echoed: a secret may have been put where its place belongs.
            faults.add((*path, key.name), f"must be {key.expectation}")
        else:
            if key.place == "file":
                places = [faults.located((*path, key.name), place) for place in places]
            references += [key.reference(place) for place in places]
    field, many, required = keys[0].field, keys[0].many, keys[0].required
    if len(faults.lines) > faults_before:
        return {}
    if required and not references:
        faults.add((*path, f"{stem}_file"), f"is missing; set it to {keys[1].expectation}, or set {stem}_env")
        return {}
    if not many and len(references) > 1:
        faults.add((*path, f"{stem}_file"), f"is set together with {stem}_env; keep one of them")
        return {}
    return {field: tuple(references) if many else references[0]} if references else {}


def _places(key: SecretKey, value: object) -> list[str] | None:
    """Return what a key of a secret names, an empty text being as good as no key; None if it names nothing usable."""
    if value == "":
        return []
    named: list[object] = value if key.many and isinstance(value, list) else [value]
    places = [place for place in named if isinstance(place, str) and _is_place(key, place)]
    return places if len(places) == len(named) else None


def _is_place(key: SecretKey, place: str) -> bool:
    return bool(_VARIABLE_NAME.match(place)) if key.place == "env" else bool(place) and place.isprintable()


def _echo(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _ECHOED_CHARACTERS else text[:_ECHOED_CHARACTERS] + "…"
