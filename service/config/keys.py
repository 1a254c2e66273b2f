"""The keys of a configuration, derived from the settings they fill: there is no second list to keep in step."""

from functools import cache
from typing import Any, Literal

import msgspec
from msgspec import inspect

from service.config.settings import (
    AccountSettings,
    ApiKeySettings,
    LogSettings,
    NoticeSettings,
    SecretReference,
    ServerSettings,
    StoreSettings,
)

SECTIONS: dict[str, type[msgspec.Struct]] = {"server": ServerSettings, "store": StoreSettings, "log": LogSettings}
ACCOUNTS = "accounts"
API_KEYS = "api_keys"
NOTICES = "notices"
# Sections that hold one table for each name, such as `[accounts.acme]`.
NAMED: dict[str, type[msgspec.Struct]] = {
    API_KEYS: ApiKeySettings,
    NOTICES: NoticeSettings,
    ACCOUNTS: AccountSettings,
}

# Not keys: the name of an account or an API key is the name of its table.
_FIELDS_WITHOUT_KEY = {(settings, "name") for settings in NAMED.values()}


class ValueKey(msgspec.Struct, frozen=True):
    """A key with a plain value; `type` is the type of the field of the same name."""

    name: str
    type: Any
    described: inspect.Type
    default: Any

    @property
    def is_path(self) -> bool:
        """Whether the value names a file."""
        return isinstance(self.described, inspect.Metadata) and bool((self.described.extra or {}).get("path"))

    @property
    def has_known_entries(self) -> bool:
        """Whether the value is a table with entries of its own types, and not with any names."""
        return isinstance(self.described, inspect.StructType)

    @property
    def is_text(self) -> bool:
        """Whether the value is text, so that text from the environment is taken as it is."""
        plain = _without_metadata(self.described)
        return isinstance(plain, (inspect.StrType, inspect.LiteralType))

    @property
    def expectation(self) -> str:
        """What would be right, to follow the words "must be"."""
        return _expectation(self.described)


class SecretKey(msgspec.Struct, frozen=True):
    """One of the two keys of a secret: `stem` with `_env` or `_file`, filling `field` with where the secret stands."""

    name: str
    stem: str
    place: Literal["env", "file"]
    field: str
    many: bool
    required: bool

    @property
    def expectation(self) -> str:
        """What would be right, to follow the words "must be"."""
        one = "the name of an environment variable" if self.place == "env" else "the path of a file"
        return f"{one} that holds the secret" + (", or a list of such" if self.many else "")

    def reference(self, place: str) -> SecretReference:
        """Return the place as the settings hold it."""
        return SecretReference(environment=place) if self.place == "env" else SecretReference(file=place)

    def places_in(self, settings: msgspec.Struct) -> list[str]:
        """Return what this key names in `settings`."""
        held = getattr(settings, self.field)
        references: tuple[SecretReference, ...] = held if self.many else (held,)
        places = (each.environment if self.place == "env" else each.file for each in references)
        return [place for place in places if place is not None]


@cache
def keys_of(settings: type[msgspec.Struct]) -> dict[str, ValueKey | SecretKey]:
    """Return the keys that fill `settings`, by their names in the configuration."""
    keys: dict[str, ValueKey | SecretKey] = {}
    described = inspect.type_info(settings)
    assert isinstance(described, inspect.StructType)  # noqa: S101  the argument is a Struct by its type
    for field, annotated in zip(described.fields, msgspec.structs.fields(settings), strict=True):
        if (settings, field.name) in _FIELDS_WITHOUT_KEY:
            continue
        many = isinstance(field.type, inspect.VarTupleType)
        inner = field.type.item_type if isinstance(field.type, inspect.VarTupleType) else field.type
        if isinstance(inner, inspect.StructType) and inner.cls is SecretReference:
            stem = field.name.removesuffix("s") if many else field.name
            for place in ("env", "file"):
                name = f"{stem}_{place}"
                keys[name] = SecretKey(name, stem, place, field.name, many, field.required)
        else:
            keys[field.name] = ValueKey(field.name, annotated.type, field.type, annotated.default)
    return keys


def secret_stems(settings: type[msgspec.Struct]) -> list[str]:
    """Return the secrets among the keys of `settings`, such as `heap_secret`."""
    return list(dict.fromkeys(key.stem for key in keys_of(settings).values() if isinstance(key, SecretKey)))


def _without_metadata(described: inspect.Type) -> inspect.Type:
    return described.type if isinstance(described, inspect.Metadata) else described


def _expectation(described: inspect.Type) -> str:
    match described:
        case inspect.Metadata(extra_json_schema={"description": words}):
            pass
        case inspect.BoolType():
            words = "true or false"
        case inspect.IntType(ge=least, le=most):
            words = f"a whole number from {least} to {most}"
        case inspect.FloatType(gt=None, ge=least, le=most):
            words = f"a number from {least} to {most}"
        case inspect.FloatType(gt=least, le=most):
            words = f"a number above {least} and at most {most}"
        case inspect.LiteralType(values=values):
            words = " or ".join(f'"{value}"' for value in values)
        case inspect.UnionType(types=types):
            words = " or ".join(map(_expectation, types))
        case inspect.DictType(value_type=value_type):
            words = f"a table whose values are each {_expectation(value_type)}"
        case inspect.StructType(fields=fields):
            entries = " and ".join(f"{field.encode_name} ({_expectation(field.type)})" for field in fields)
            words = f"a table with {entries}"
        case _:
            raise TypeError(f"no words for a setting of type {described}")
    return str(words)
