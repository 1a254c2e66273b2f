"""What differs between the configuration that runs and another one, and which of it can take effect without a restart."""

from typing import Any

import msgspec

from service.config.keys import ACCOUNTS, API_KEYS, NAMED, NOTICES, SECTIONS, SecretKey, ValueKey, keys_of
from service.config.settings import Settings

_TLS = {"tls_certificate_file", "tls_key_file"}
# Every other key of these sections was read once, when the service was put together. All keys of accounts and API keys can change.
_CHANGEABLE = {
    "server": {"max_body_bytes", "shutdown_grace_seconds", "api_key_file", "api_key_env", *_TLS},
    "store": {"max_backlog", "retention_days", "settle_batch_results", "settle_interval_seconds"},
    "log": {"level", "format"},
}


def takes_effect_by_reload(section: str, key: str) -> bool:
    """Tell whether a running service can take up another value of a key; `section` is the first part of its table.

    Switching TLS on or off cannot, although other files for it can.
    """
    return section in NAMED or key in _CHANGEABLE[section]


class Reload(msgspec.Struct, frozen=True):
    """What a running service can make of another configuration.

    `settings`: what to run with, which is that configuration but for the keys in `needs_restart`, kept as they are.
    `changed`: the keys that take effect, such as `accounts.acme.max_attempts`; no values, for some are nobody's business.
    `added` and `removed` are accounts, whose keys are not told one by one.
    """

    settings: Settings
    changed: list[str]
    added: list[str]
    removed: list[str]
    needs_restart: list[str]


def plan_reload(running: Settings, wanted: Settings) -> Reload:
    """Return what `wanted` changes in a service that runs with `running`."""
    # A listening socket speaks TLS or does not.
    switches_tls = bool(running.server.tls_certificate_file) != bool(wanted.server.tls_certificate_file)
    changed: list[str] = []
    needs_restart: list[str] = []
    sections: dict[str, Any] = {}
    for section in SECTIONS:
        before, after = getattr(running, section), getattr(wanted, section)
        kept: dict[str, Any] = {}
        for key in _different_keys(before, after):
            if takes_effect_by_reload(section, key.name) and not (key.name in _TLS and switches_tls):
                changed.append(f"{section}.{key.name}")
            else:
                needs_restart.append(f"{section}.{key.name}")
                kept[_field(key)] = getattr(before, _field(key))
        sections[section] = msgspec.structs.replace(after, **kept)
    for name in running.accounts.keys() & wanted.accounts.keys():
        differing = _different_keys(running.accounts[name], wanted.accounts[name])
        changed += [f"{ACCOUNTS}.{name}.{key.name}" for key in differing]
    targets = running.notices.keys() | wanted.notices.keys()
    changed += [f"{NOTICES}.{name}" for name in targets if running.notices.get(name) != wanted.notices.get(name)]
    names = running.api_keys.keys() | wanted.api_keys.keys()
    changed += [f"{API_KEYS}.{name}" for name in names if running.api_keys.get(name) != wanted.api_keys.get(name)]
    return Reload(
        settings=msgspec.structs.replace(wanted, **sections),
        changed=sorted(changed),
        added=sorted(wanted.accounts.keys() - running.accounts.keys()),
        removed=sorted(running.accounts.keys() - wanted.accounts.keys()),
        needs_restart=sorted(needs_restart),
    )


def _different_keys(before: msgspec.Struct, after: msgspec.Struct) -> list[ValueKey | SecretKey]:
    return [key for key in keys_of(type(before)).values() if _value(key, before) != _value(key, after)]


def _value(key: ValueKey | SecretKey, table: msgspec.Struct) -> object:
    return key.places_in(table) if isinstance(key, SecretKey) else getattr(table, key.name)


def _field(key: ValueKey | SecretKey) -> str:
    return key.field if isinstance(key, SecretKey) else key.name
