"""Configuration: `config.toml` and the environment, read into frozen settings; all faults are told at once."""

import stat
from collections.abc import Iterator, Mapping
from math import ceil
from pathlib import Path
from typing import Any

import msgspec

from service.config.accounts import read_accounts, read_api_keys, read_notices
from service.config.keys import ACCOUNTS, API_KEYS, NAMED, NOTICES, SECTIONS, SecretKey, keys_of
from service.config.reading import ENVIRONMENT_PREFIX, UNECHOED_KEYS, Faults, read_document, read_fields
from service.config.settings import (
    AccountSettings,
    LogSettings,
    SecretReference,
    ServerSettings,
    Settings,
    StoreSettings,
)
from service.errors import ConfigurationError

_HIDDEN = "***"


def load(path: Path | None, environment: Mapping[str, str]) -> Settings:
    """Return the settings of the TOML file at `path`, overridden by `HEAP_CORDIAL__SECTION__KEY` variables.

    Without a path the environment alone is the configuration. What neither sets has the default that `config.toml`
    shows. Secrets are not read here (see `secret_faults`). Raises `ConfigurationError` with every fault there is.
    """
    document = read_document(path, environment)
    faults = Faults(document)
    for section in document.tables:
        if section not in {*SECTIONS, *NAMED}:
            faults.unknown((section,), [*SECTIONS, *NAMED])
    fields = {
        section: read_fields(settings, document.tables.get(section, {}), (section,), faults)
        for section, settings in SECTIONS.items()
    }
    if bool(fields["server"].get("tls_certificate_file")) != bool(fields["server"].get("tls_key_file")):
        faults.add(("server", "tls_key_file"), "belongs to tls_certificate_file; set both or none")
    tables = document.tables.get(ACCOUNTS, {})
    accounts = {}
    if not isinstance(tables, dict):
        faults.add((ACCOUNTS,), "must be tables, one [accounts.NAME] for each account")
    elif not tables:
        faults.add((ACCOUNTS,), f"no account is configured; {_how_to_add_an_account(path)}")
    else:
        accounts = read_accounts(tables, faults)
    key_tables = document.tables.get(API_KEYS, {})
    api_keys = {}
    if isinstance(key_tables, dict):
        api_keys = read_api_keys(key_tables, faults)
    else:
        faults.add((API_KEYS,), "must be tables, one [api_keys.NAME] for each key")
    notice_tables = document.tables.get(NOTICES, {})
    notices = {}
    if isinstance(notice_tables, dict):
        notices = read_notices(notice_tables, faults)
    else:
        faults.add((NOTICES,), "must be tables, one [notices.NAME] for each target")
    if not faults.lines:
        _check_retention(StoreSettings(**fields["store"]), accounts, faults)
    if faults.lines:
        raise ConfigurationError(faults.lines)
    return Settings(
        server=ServerSettings(**fields["server"]),
        store=StoreSettings(**fields["store"]),
        log=LogSettings(**fields["log"]),
        accounts=accounts,
        api_keys=api_keys,
        notices=notices,
    )


def _check_retention(store: StoreSettings, accounts: Mapping[str, AccountSettings], faults: Faults) -> None:
    """Keep the history at least as long as a recorded page can come again, or it would count as new (R4).

    A page may be signed as far ahead as the tolerance allows, and come again that long after its signature.
    """
    for account in accounts.values():
        needed_days = ceil((2 * account.timestamp_tolerance_seconds + 3_600) / 86_400)
        if store.retention_days < needed_days:
            faults.add(
                ("store", "retention_days"),
                f"must be at least {needed_days} for timestamp_tolerance_seconds in [accounts.{account.name}]: a "
                "recorded page that is sent again within that time must be recognised",
            )


def _how_to_add_an_account(path: Path | None) -> str:
    if path is None:
        stem = f"{ENVIRONMENT_PREFIX}ACCOUNTS__ACME__"
        return f"set {stem}HEAP_SECRET_FILE and {stem}CORDIAL_API_KEY_FILE (or …_ENV)"
    return (
        f"uncomment [accounts.acme] in {path.name} and set heap_secret_file and cordial_api_key_file "
        "(or heap_secret_env and cordial_api_key_env)"
    )


def secret_faults(settings: Settings) -> list[str]:
    """Try to read every secret; return one line for each that cannot be used, never with anything of its value."""
    faults = []
    for label, reference in _secrets(settings):
        try:
            reference.read()
        except OSError as error:
            faults.append(f"{label}: {reference.place} cannot be read: {error.strerror}")
        except LookupError as error:
            faults.append(f"{label}: {error.args[0]}")
    return faults


def secret_warnings(settings: Settings) -> list[str]:
    """Return one line for each secret file that others than its owner may read."""
    warnings = []
    for label, reference in _secrets(settings):
        if reference.file is None:
            continue
        try:
            mode = Path(reference.file).stat().st_mode
        except OSError:
            continue  # one of the faults, then
        if mode & stat.S_IROTH:
            warnings.append(
                f"{label}: {reference.place} can be read by every user of this machine; run chmod 600 on it"
            )
        elif mode & stat.S_IRGRP:
            warnings.append(f"{label}: {reference.place} can be read by its group; run chmod 600 on it")
    return warnings


def describe(settings: Settings) -> dict[str, Any]:
    """Return the whole effective configuration under the keys of `config.toml`, secrets only as where they stand."""
    described: dict[str, Any] = {section: _describe_table(getattr(settings, section)) for section in SECTIONS}
    for section in NAMED:
        described[section] = {name: _describe_table(table) for name, table in getattr(settings, section).items()}
    return described


def _describe_table(table: msgspec.Struct) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for key in keys_of(type(table)).values():
        if isinstance(key, SecretKey):
            described[key.name] = key.places_in(table)
        elif key.name in UNECHOED_KEYS and getattr(table, key.name):
            described[key.name] = _HIDDEN
        else:
            described[key.name] = msgspec.to_builtins(getattr(table, key.name))
    return described


def _secrets(settings: Settings) -> Iterator[tuple[str, SecretReference]]:
    """Give every secret with the key that names it, such as `accounts.acme.heap_secret_file`."""
    tables: dict[str, msgspec.Struct] = {section: getattr(settings, section) for section in SECTIONS}
    for section in NAMED:
        tables |= {f"{section}.{name}": table for name, table in getattr(settings, section).items()}
    for path, table in tables.items():
        for key in keys_of(type(table)).values():
            if isinstance(key, SecretKey):
                for place in key.places_in(table):
                    yield f"{path}.{key.name}", key.reference(place)
