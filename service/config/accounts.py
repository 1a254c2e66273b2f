"""The rules of `[accounts]`, `[api_keys]` and `[notices]` that no single value can keep by itself."""

import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

from service.config.keys import ACCOUNTS, API_KEYS, NOTICES
from service.config.reading import Faults, KeyPath, read_fields
from service.config.settings import RESERVED_LIST_NAMES, AccountSettings, ApiKeySettings, NoticeSettings

# No double underscore, none at an end: with them, a variable HEAP_CORDIAL__ACCOUNTS__… could not be taken apart.
_NAME = re.compile(r"(?!.*__)(?!_)[a-z0-9_-]{1,64}(?<!_)\Z")
# Cordial's own pages, https://admin.cordial.io or https://usw2.admin.cordial.io: no API answers there.
_PAGES_OF_CORDIAL = re.compile(r"https?://(?P<region>[a-z0-9-]+\.)?admin\.cordial\.io\b", re.IGNORECASE)


def read_accounts(tables: dict[str, Any], faults: Faults) -> dict[str, AccountSettings]:
    """Return the accounts without fault; all faults of all accounts are noted."""
    accounts: dict[str, AccountSettings] = {}
    fields_of: dict[str, dict[str, Any]] = {}
    for name, table in tables.items():
        path = (ACCOUNTS, name)
        before = len(faults.lines)
        _check_name("an account's", path, faults)
        fields = read_fields(AccountSettings, table, path, faults)
        fields_of[name] = fields
        _check_base_url(fields, path, faults)
        _check_public_url(fields, path, faults)
        _check_identities(fields, path, faults)
        _check_list_names(fields, path, faults)
        if len(faults.lines) == before:
            accounts[name] = AccountSettings(name=name, **fields)
    _check_id_tokens(fields_of, faults)
    return accounts


def read_api_keys(tables: dict[str, Any], faults: Faults) -> dict[str, ApiKeySettings]:
    """Return the API keys without fault; the faults of all are noted."""
    keys: dict[str, ApiKeySettings] = {}
    for name, table in tables.items():
        path = (API_KEYS, name)
        before = len(faults.lines)
        _check_name("an API key's", path, faults)
        fields = read_fields(ApiKeySettings, table, path, faults)
        if len(faults.lines) == before:
            keys[name] = ApiKeySettings(name=name, **fields)
    return keys


def read_notices(tables: dict[str, Any], faults: Faults) -> dict[str, NoticeSettings]:
    """Return the targets of notices without fault; the faults of all are noted."""
    notices: dict[str, NoticeSettings] = {}
    for name, table in tables.items():
        path = (NOTICES, name)
        before = len(faults.lines)
        _check_name("a notice target's", path, faults)
        fields = read_fields(NoticeSettings, table, path, faults)
        if "kind" not in fields and len(faults.lines) == before:
            faults.add((*path, "kind"), 'is missing; it must be "webhook" or "slack" or "email"')
        if fields.get("kind") == "email":
            for key in ("smtp_host", "sender", "recipients"):
                if not fields.get(key):
                    faults.add((*path, key), "is missing; e-mail needs it")
        elif len(fields.get("urls", ())) != 1 and len(faults.lines) == before:
            faults.add((*path, "url_file"), "must name one file that holds the URL, or set url_env")
        if len(faults.lines) == before:
            notices[name] = NoticeSettings(name=name, **fields)
    return notices


def _check_name(whose: str, path: KeyPath, faults: Faults) -> None:
    if not _NAME.match(path[-1]):
        faults.add(
            path,
            f"{whose} name must be at most 64 lower-case letters, digits, `-` and `_`, "
            "without `_` at either end or twice in a row",
        )


def _check_base_url(fields: dict[str, Any], path: KeyPath, faults: Faults) -> None:
    """Replace the URL by its normal form, without a trailing slash and without the `/v2` that every call adds."""
    if "cordial_base_url" not in fields:
        return
    path = (*path, "cordial_base_url")
    try:
        fields["cordial_base_url"] = _normal_base_url(fields["cordial_base_url"])
    except ValueError as error:
        # Not echoed: a URL with a key in it is one of the faults.
        faults.add(path, f"must be a URL such as https://api.cordial.io: {error}")


def _check_public_url(fields: dict[str, Any], path: KeyPath, faults: Faults) -> None:
    """Replace the URL by its normal form, without a trailing slash."""
    if not fields.get("public_url"):
        return
    where = (*path, "public_url")
    try:
        url = _normal_url(fields["public_url"])
    except ValueError as error:
        faults.add(where, f"must be empty or a URL such as https://sync.example.com: {error}")
        return
    before, webhook, _ = url.partition("/webhooks/heap")
    if webhook:
        faults.add(where, f"must be the URL without the path of a webhook: {before}")
    elif url == fields.get("cordial_base_url"):
        faults.add((*path, "cordial_base_url"), "must be the URL of Cordial's API, not that of this service")
    fields["public_url"] = url


def _normal_base_url(text: str) -> str:
    """Return the normal form without `/v2`; raises `ValueError` with the reason when it cannot be called."""
    if "@" in text:
        raise ValueError("it must not contain the key; use cordial_api_key_file or cordial_api_key_env")
    url = _normal_url(text)
    if pages := _PAGES_OF_CORDIAL.match(url):
        region = pages["region"] or ""
        raise ValueError(f"that is where people sign in to Cordial; its API is at https://api.{region}cordial.io")
    return url.removesuffix("/v2").rstrip("/")


def _normal_url(text: str) -> str:
    """Return the normal form, without a trailing slash; raises `ValueError` with the reason when it is of no use."""
    if any(character.isspace() for character in text):
        raise ValueError("it contains white space")
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError:
        raise ValueError("its host or port cannot be read") from None
    if url.scheme not in {"http", "https"}:
        raise ValueError("it must start with https://")
    if "@" in url.netloc:
        raise ValueError("it must not contain a login")
    if not host:
        raise ValueError("it has no host")
    if "?" in text or "#" in text:
        raise ValueError("it must end with its path, without `?` or `#`")
    if url.scheme == "http" and not is_loopback(host):
        raise ValueError("http is allowed only on this machine (localhost), because others could read the secrets")
    return f"{url.scheme}://{url.netloc}{url.path.rstrip('/')}"


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_identities(fields: dict[str, Any], path: KeyPath, faults: Faults) -> None:
    identities = fields.get("identities", {})
    if fields.get("identify_by") == "auto" and not identities:
        faults.add(
            (*path, "identities"),
            'is needed by identify_by = "auto": a table from each Heap property to its Cordial key, '
            'such as { email = "email" }',
        )
    if "auto" in identities.values():
        faults.add((*path, "identities"), 'must name Cordial keys; "auto" is not one')


def _check_list_names(fields: dict[str, Any], path: KeyPath, faults: Faults) -> None:
    """Hold list names apart (R10), whatever their case: that Cordial tells names apart by case is stated nowhere."""
    segment_of: dict[str, str] = {}
    for segment, list_name in fields.get("list_names", {}).items():
        entry = (*path, "list_names", segment)
        folded = list_name.lower()
        if folded in RESERVED_LIST_NAMES:
            faults.add(entry, f'must be another name: Cordial reserves "{list_name}" to itself')
        if folded in segment_of:
            faults.add(entry, f"must be another name: segment {segment_of[folded]} has this one")
        segment_of.setdefault(folded, segment)


def _check_id_tokens(fields_of: dict[str, dict[str, Any]], faults: Faults) -> None:
    """Hold tokens apart: a delivery without an account in its path belongs to the one account that has its token."""
    account_of: dict[str, str] = {}
    for name, fields in fields_of.items():
        token = fields.get("heap_id_token", "")
        if token and token in account_of:
            faults.add((ACCOUNTS, name, "heap_id_token"), f"must differ from that of account {account_of[token]}")
        account_of.setdefault(token, name)
