"""What the body of `POST /v2/contactimports` asks for, by the rules of Cordial's contract. Pure checks, no effects."""

from collections.abc import Mapping

import msgspec
from yarl import URL

from service.sandbox.answers import RefusalError, error, import_error
from service.sandbox.schema import valid_address

_TRANSPORTS = frozenset({"HTTP", "HTTPS", "FTP", "SFTP", "S3", "GCS", "AZUREBLOB", "SNOWFLAKE"})
_WITH_PATH = frozenset({"FTP", "SFTP", "S3", "GCS", "AZUREBLOB"})
_STRATEGIES = frozenset({"insertOnly", "updateOnly"})
_NO_DELIMITERS = frozenset('\r\n"')


class ImportRequest(msgspec.Struct, frozen=True):
    """A job that may be created.

    `columns` are the names from left to right; without any, the file's header names them. `strategy` is `insertOnly`,
    `updateOnly` or, for both, `None`. A cell equal to `null_marker` is skipped.
    """

    name: str
    url: URL
    has_header: bool
    columns: tuple[str, ...] | None
    delimiter: str
    strategy: str | None
    null_marker: str | None
    add_to: tuple[str, ...]
    remove_from: tuple[str, ...]
    suppress_triggers: bool
    status_webhook_url: URL | None


def read_request(body: Mapping[str, object]) -> ImportRequest:
    """Return what the body asks for; keys that the contract does not name have no effect.

    Raises `RefusalError`: the contract's 406, or for a transport that the stand-in does not offer the error in place of
    the job's id. It offers HTTP and HTTPS.
    """
    source = body.get("source")
    if not isinstance(source, dict):
        raise _refusal("The source field is required.")
    url = _location(source)
    has_header = _flag(body, "hasHeader", default=False)
    columns = _texts(body, "columns", "columns")
    if not columns and not has_header:
        raise _refusal("The columns field is required.")
    strategy = _text(body, "strategy")
    if strategy is not None and strategy not in _STRATEGIES:
        raise _refusal("The selected strategy is invalid.")
    confirm_email = body.get("confirmEmail")
    if confirm_email is not None and valid_address(confirm_email) is None:
        raise _refusal("The confirm email must be a valid email address.")
    lists = body.get("lists", {})
    if not isinstance(lists, dict):
        raise _refusal("The lists must be an object.")
    status_webhook_url = _text(body, "jobStatusWebhookUrl")
    return ImportRequest(
        name=_text(body, "importName") or "",
        url=url,
        has_header=has_header,
        columns=columns or None,
        delimiter=_delimiter(body),
        strategy=strategy,
        null_marker=_text(body, "nullMarker"),
        add_to=_texts(lists, "addTo", "lists.addTo"),
        remove_from=_texts(lists, "removeFrom", "lists.removeFrom"),
        suppress_triggers=_flag(body, "suppressTriggers", default=True),
        status_webhook_url=None if status_webhook_url is None else _url(status_webhook_url, "jobStatusWebhookUrl"),
    )


def _location(source: Mapping[str, object]) -> URL:
    transport = source.get("transport")
    if transport is None:
        raise _refusal("The source.transport field is required.")
    if not isinstance(transport, str) or transport.upper() not in _TRANSPORTS:
        raise _refusal("The selected source.transport is invalid.")
    transport = transport.upper()
    if transport in _WITH_PATH and not source.get("path"):
        raise _refusal("The source.path field is required.")
    if transport not in ("HTTP", "HTTPS"):
        raise RefusalError(import_error(f"Can't connect to the server ({transport})"))
    text = source.get("url")
    if not text:
        raise _refusal("The source.url field is required.")
    url = _url(text, "source.url")
    # The contract does not say that both must agree; a client for which they do is right either way.
    if url.scheme != transport.lower():
        raise _refusal("The source.url format is invalid.")
    return url


def _url(text: object, field: str) -> URL:
    try:
        url = URL(text) if isinstance(text, str) else URL()
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise _refusal(f"The {field} format is invalid.")
    return url


def _delimiter(body: Mapping[str, object]) -> str:
    delimiter = body.get("delimiter", ",")
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in _NO_DELIMITERS:
        raise _refusal("The delimiter must be 1 character.")
    return delimiter


def _flag(body: Mapping[str, object], field: str, *, default: bool) -> bool:
    value = body.get(field, default)
    if not isinstance(value, bool):
        raise _refusal(f"The {field} field must be true or false.")
    return value


def _text(body: Mapping[str, object], field: str) -> str | None:
    value = body.get(field)
    if value is not None and not isinstance(value, str):
        raise _refusal(f"The {field} must be a string.")
    return value


def _texts(parent: Mapping[str, object], key: str, field: str) -> tuple[str, ...]:
    values = parent.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _refusal(f"The {field} must be an array of strings.")
    return tuple(values)


def _refusal(message: str) -> RefusalError:
    return RefusalError(error(406, message))
