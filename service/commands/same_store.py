"""One configuration names one store: whether the service that runs at the configured address works on that one."""

from pathlib import Path
from typing import NamedTuple

import msgspec

from service.commands.client import ApiClient, ClientError, is_alive, local_url, session_for
from service.config.settings import Settings
from service.errors import ConfigurationError
from service.observe.api.identity import ServiceDocument, file_identity


class Doubt(NamedTuple):
    """Why the running service may work on another store than the configuration names; `is_other`: it surely does."""

    text: str
    is_other: bool


async def doubt_about_store(settings: Settings) -> Doubt | None:
    """Compare the configured store with the one that the running service says is its own.

    None: it is the same, or no service runs there, or there is no API key to ask it with.
    """
    path = Path(settings.store.path)
    url = local_url(settings.server)
    try:
        running = await _ask(settings, url)
    except (ClientError, ConfigurationError) as error:
        text = f"the service at {url} does not say which store it uses, so it may not be {path}: {error}"
        return Doubt(text, is_other=False)
    if running is None or (running.store.file and running.store.file == file_identity(path)):
        return None
    return Doubt(
        f"the service at {url} uses {running.store.path}, but this configuration names {path}, which is another "
        "file; with --config, give the configuration of the service",
        is_other=True,
    )


async def _ask(settings: Settings, url: str) -> ServiceDocument | None:
    async with session_for(settings) as session:
        if not (settings.server.api_keys or settings.api_keys) or not await is_alive(session, url):
            return None
        try:
            return msgspec.convert(await ApiClient(session, settings).get("service"), ServiceDocument)
        except msgspec.ValidationError as error:
            raise ClientError(f"its answer is not readable ({error})") from error
