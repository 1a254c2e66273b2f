"""Speaking to the running service's API from the terminal of the same host."""

import argparse
import asyncio
import base64
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp
import msgspec

from service.commands.arguments import add_command, add_json_option
from service.commands.terminal import FAILED, USAGE, answered_yes, complain, fail
from service.config import loading
from service.config.settings import ServerSettings, Settings
from service.errors import ConfigurationError, ErrorCode, in_words
from service.observe.api.authentication import Role
from service.web.tls import TlsFiles, fingerprint

_TIMEOUT_SECONDS = 60.0
_SHORT_TIMEOUT_SECONDS = 5.0
_MAX_ROWS = 200
# What the API takes as a part of a name.
_MAX_SEARCH = 200
# Before a list's id, which may be another list's name.
_BY_ID = "id:"
_OK = 200
_UNAUTHORIZED = 401
# Codes of errors that are not the API's, beside FAILED.
_NO_SERVICE = "no_service"
_CONFIGURATION = "configuration"


class ClientError(Exception):
    """The command failed; the message says why.

    `is_elsewhere`: perhaps only because the command has the configuration of another service. `code`: that of the API if it
    refused, for programs. `status`: the command's exit status.
    """

    def __init__(self, message: str, *, is_elsewhere: bool = False, code: str = FAILED, status: int = 1) -> None:
        super().__init__(message)
        self.is_elsewhere = is_elsewhere
        self.code = code
        self.status = status


def wrong_arguments(message: str) -> ClientError:
    """Return what is raised where the arguments are wrong together, though each by itself is not."""
    return ClientError(message, code=USAGE, status=2)


class ApiClient:
    """Asks one service, with that API key of its own configuration that may do most."""

    def __init__(self, session: aiohttp.ClientSession, settings: Settings) -> None:
        self._session = session
        self._root = f"{local_url(settings.server)}/api/v1"
        token = base64.b64encode(f"{_api_key(settings)}:".encode()).decode("ascii")
        self._headers = {"Authorization": f"Basic {token}"}

    async def get(self, path: str, **query: object) -> Any:
        """Return the document at `path`; parameters that are None are left out."""
        parameters = {name: str(value) for name, value in query.items() if value is not None}
        return await self._ask("GET", path, params=parameters)

    async def items(self, path: str, most: int, *, find: str | None = None, **query: object) -> list[dict[str, Any]]:
        """Return up to `most` items of a paged list; `find`: only of users with this in their ids, which is in no address."""
        found: list[dict[str, Any]] = []
        after = None
        while len(found) < most:
            asked = {**query, "after": after, "limit": min(_MAX_ROWS, most - len(found))}
            if find is None:
                page = await self.get(path, **asked)
            else:
                given = {name: value for name, value in asked.items() if value is not None}
                page = await self.post(f"{path}/find", {**given, "user": find})
            found += page["items"]
            after = page.get("next")
            if after is None:
                break
        return found

    async def download(self, path: str, file: BinaryIO, **query: object) -> None:
        """Write what is at `path` to a file as it comes; parameters that are None are left out."""
        parameters = {name: str(value) for name, value in query.items() if value is not None}
        url, timeout = f"{self._root}/{path}", aiohttp.ClientTimeout(total=None, sock_read=_TIMEOUT_SECONDS)
        try:
            async with self._session.get(url, headers=self._headers, params=parameters, timeout=timeout) as answer:
                if answer.status != _OK:
                    raise _refused(answer.status, msgspec.json.decode(await answer.read()))
                async for chunk in answer.content.iter_any():
                    file.write(chunk)
        except aiohttp.ClientPayloadError as error:
            raise ClientError("the service could not read all rows, so what was written is only a part") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unanswered(self._root, error) from error
        except msgspec.DecodeError as error:
            raise ClientError(f"what answers at {self._root} is not this service", is_elsewhere=True) from error

    async def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask for an action and return what it came to."""
        return await self._ask("POST", path, json=body or {})

    async def check_account(self, name: str | None) -> None:
        """Raise `ClientError` if the service knows no account of this name; without a name do nothing."""
        if name is None:
            return
        known = [each["name"] for each in (await self.get("accounts"))["items"]]
        if name not in known:
            raise ClientError(f"there is no account {name}; there are {', '.join(known) or 'none'}", is_elsewhere=True)

    async def find_list(self, wanted: str) -> dict[str, Any]:
        """Return the list that is called `wanted`, by its name, its segment's name or its id; `id:7` is an id and no name."""
        number = wanted.removeprefix(_BY_ID)
        exact = await self._lists_of_id(number) if number.isascii() and number.isdigit() else []
        if not (exact and wanted.startswith(_BY_ID)):
            # A segment may be called 2024.
            rows = await self.items("lists", _MAX_ROWS, search=wanted[:_MAX_SEARCH])
            named = [row for row in rows if wanted in {row["list_name"], row["segment_name"]}]
            exact += [row for row in named if row["id"] not in {each["id"] for each in exact}]
        if len(exact) == 1:
            return exact[0]
        if not exact:
            words = f"there is no list or segment named {wanted}; `heap-cordial lists` shows all"
            raise ClientError(words, is_elsewhere=True)
        ids = ", ".join(f"{_BY_ID}{row['id']} ({row['account']} {row['segment_name']})" for row in exact)
        raise ClientError(f"several lists are called {wanted}; name one by its id: {ids}")

    async def _lists_of_id(self, list_id: str) -> list[dict[str, Any]]:
        try:
            return [await self.get(f"lists/{list_id}")]
        except ClientError as error:
            if error.code != ErrorCode.NOT_FOUND.value:
                raise
            return []

    async def _ask(self, method: str, path: str, **options: Any) -> Any:
        try:
            async with self._session.request(
                method, f"{self._root}/{path}", headers=self._headers, **options
            ) as answer:
                body = msgspec.json.decode(await answer.read())
        except aiohttp.ServerFingerprintMismatch as error:
            raise ClientError(
                f"what answers at {self._root} does not show the certificate in tls_certificate_file; the service uses a new "
                "one within seconds, or its log says why not",
                is_elsewhere=True,
            ) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unanswered(self._root, error) from error
        except msgspec.DecodeError as error:
            raise ClientError(f"what answers at {self._root} is not this service", is_elsewhere=True) from error
        if answer.status != _OK:
            raise _refused(answer.status, body)
        return body


def _refused(status: int, body: Any) -> ClientError:
    error = body.get("error", {}) if isinstance(body, dict) else {}
    message, code = str(error.get("message", f"HTTP {status}")), str(error.get("code", FAILED))
    return ClientError(message, is_elsewhere=status == _UNAUTHORIZED, code=code)


def _unanswered(url: str, error: Exception) -> ClientError:
    if isinstance(error, TimeoutError):
        return ClientError(f"the service at {url} has not answered in time; look at its log", code=_NO_SERVICE)
    reason = in_words(error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error)
    return ClientError(f"no service answers at {url}: {reason}; is it running?", is_elsewhere=True, code=_NO_SERVICE)


async def is_alive(session: aiohttp.ClientSession, url: str) -> bool:
    """Return whether this service answers at the address."""
    try:
        async with session.get(f"{url}/livez", allow_redirects=False) as answer:
            document = msgspec.json.decode(await answer.read())
    except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, UnicodeDecodeError):
        return False
    return answer.status == _OK and isinstance(document, dict) and document.get("status") == "alive"


def session_for(settings: Settings, timeout_seconds: float = _SHORT_TIMEOUT_SECONDS) -> aiohttp.ClientSession:
    """Return what asks the service at `local_url`; raises as `local_connector` does."""
    timeout = aiohttp.ClientTimeout(total=timeout_seconds)
    return aiohttp.ClientSession(timeout=timeout, connector=local_connector(settings.server))


def local_url(server: ServerSettings) -> str:
    """Return the address at which this host reaches the service."""
    host = "127.0.0.1" if server.host in {"0.0.0.0", "::"} else server.host  # noqa: S104
    scheme = "https" if server.tls_certificate_file else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{server.port}"


def local_connector(server: ServerSettings) -> aiohttp.TCPConnector:
    """Return what connects to `local_url`: over TLS, to the holder of the very certificate that is configured.

    Its name is not looked at, for it is not for a loopback address, nor its issuer. Raises `ConfigurationError` when the
    certificate cannot be read.
    """
    files = TlsFiles.of(server)
    return aiohttp.TCPConnector(ssl=True if files is None else aiohttp.Fingerprint(fingerprint(files.certificate)))


def add_config_option(parser: argparse.ArgumentParser, *, is_action: bool = False) -> None:
    """Add `--config`, which every command of the service has; with the action of a command it may stand before its name."""
    # An action's own default would overwrite what stands before it.
    default = argparse.SUPPRESS if is_action else None
    text = "the TOML file; without it, only environment variables are used"
    parser.add_argument("--config", type=Path, default=default, metavar="FILE", help=text)


def which_configuration(config: Path | None) -> str:
    """Return what to say where a wrong configuration may be the reason that something failed."""
    if config is None:
        return "No --config was given, so only environment variables were read. If you have a file, add --config FILE."
    return f"The configuration is {config.absolute()}. If it is the wrong one, give another with --config FILE."


def fail_by_configuration(arguments: argparse.Namespace, error: ConfigurationError) -> int:
    """Say what is wrong with the configuration and where it was read; return the exit status."""
    fail(arguments, _CONFIGURATION, *error.faults, which_configuration(arguments.config))
    return 2


def agree(question: str, *, assumed: bool, told: Sequence[str] = ()) -> None:
    """Go on only if a person says yes to a question, after what is `told`; `assumed` says it instead. Raises `ClientError`."""
    if assumed:
        return
    complain(*told)
    if not sys.stdin.isatty():
        raise ClientError(f"{question} Nothing was done, because nobody can answer here. To go ahead, add --yes.")
    if not answered_yes(question):
        raise ClientError("Nothing was done.")


def add_api_command(
    subparsers: "argparse._SubParsersAction[Any]",
    name: str,
    text: str,
    work: Callable[[ApiClient, argparse.Namespace], Awaitable[int]],
    *,
    examples: Sequence[str],
    json: bool = True,
    is_action: bool = False,
) -> argparse.ArgumentParser:
    """Add a command whose `work` asks the running service; return its parser for further arguments.

    `json`: it takes `--json`, which makes it print the API's own documents, one a line. `is_action`: it is an action of
    a command, and `--config` may stand before its name.
    """
    parser = add_command(subparsers, name, text, examples)
    if json:
        add_json_option(parser, "print the API's JSON, one document a line")
    add_config_option(parser, is_action=is_action)
    parser.set_defaults(run=lambda arguments: run_with_client(arguments, lambda client: work(client, arguments)))
    return parser


def run_with_client(arguments: argparse.Namespace, work: Callable[[ApiClient], Awaitable[int]]) -> int:
    """Run a command against the service that the configuration describes; return its exit status."""
    try:
        settings = loading.load(arguments.config, os.environ)
        return asyncio.run(_run(settings, work))
    except ConfigurationError as error:
        return fail_by_configuration(arguments, error)
    except ClientError as error:
        hint = [which_configuration(arguments.config)] if error.is_elsewhere else []
        fail(arguments, error.code, str(error), *hint)
        return error.status


async def _run(settings: Settings, work: Callable[[ApiClient], Awaitable[int]]) -> int:
    async with session_for(settings, _TIMEOUT_SECONDS) as session:
        return await work(ApiClient(session, settings))


def _api_key(settings: Settings) -> str:
    named = sorted(settings.api_keys.values(), key=lambda key: Role[key.role.upper()], reverse=True)
    for reference in [*settings.server.api_keys, *(key.key for key in named)]:
        try:
            return reference.read()
        except (OSError, LookupError) as error:
            reason = f"{reference.place}: {error.strerror}" if isinstance(error, OSError) else error.args[0]
            raise ClientError(f"the API key cannot be read: {reason}", is_elsewhere=True) from error
    raise ClientError(
        "no API key is configured; set server.api_key_file or server.api_key_env, or add [api_keys.NAME]",
        is_elsewhere=True,
    )
