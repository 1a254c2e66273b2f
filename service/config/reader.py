"""From unchecked tables to checked values, gathering every fault on the way instead of stopping at the first."""

import difflib
import json
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from service.config.document import Document, KeyPath
from service.config.keys import SecretKey, ValueKey, keys_of, secret_stems
from service.config.settings import SecretReference

_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SECRET_IN_CLEAR = re.compile(r"(secret|api_?key|password)s?\Z", re.IGNORECASE)
_ECHOED_CHARACTERS = 60
# A customer's token: no key to anything by itself, yet nobody's business in a log.
UNECHOED_KEYS = frozenset({"heap_id_token"})


class Faults:
    """Everything wrong with one document, one line each, with the key and what would be right."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.lines: list[str] = []

    def add(self, path: KeyPath, text: str) -> None:
        """Note a fault of the key at `path`; `text` must hold no secret."""
        self.lines.append(f"{self._document.label(path)}: {text}")

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
    for stem in secret_stems(settings):
        fields |= _read_secret(settings, stem, table, path, faults)
    return fields


def _report_unknown(settings: type[msgspec.Struct], path: KeyPath, faults: Faults) -> None:
    stems = secret_stems(settings)
    if stems and _SECRET_IN_CLEAR.search(path[-1]):
        stem = difflib.get_close_matches(path[-1], stems, n=1, cutoff=0)[0]
        faults.add(
            path,
            "a secret does not stand in the configuration itself; "
            f"put it into a file and name that with {stem}_file, or into an environment variable and use {stem}_env",
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
            references += [key.reference(place) for place in places]
    field, many, required = keys[0].field, keys[0].many, keys[0].required
    if len(faults.lines) > faults_before:
        return {}
    if required and not references:
        faults.add((*path, f"{stem}_file"), f"is missing; set it to {keys[1].expectation}, or set {stem}_env")
        return {}
    if not many and len(references) > 1:
        faults.add((*path, f"{stem}_file"), f"stands beside {stem}_env; keep one of them")
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
