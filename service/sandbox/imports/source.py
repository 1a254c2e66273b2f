"""Where an import's file comes from: whether its server can be reached, and the file itself, over real HTTP."""

import asyncio
from http import HTTPStatus
from typing import IO

import aiohttp
from yarl import URL

from service.sandbox.imports.failure import ImportFailedError
from service.sandbox.imports.records import Splitter

_CONNECT_SECONDS = 5
_SILENCE_SECONDS = 30
_CHUNK_BYTES = 1 << 16
_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS)


async def can_connect(url: URL) -> bool:
    """Whether somebody listens at the URL's host and port; nothing is sent."""
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(url.host, url.port)
    except (OSError, UnicodeError):
        return False
    writer.close()
    return True


async def has_size(url: URL) -> bool:
    """Whether HEAD is answered 200; credentials in the URL are sent."""
    try:
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session, session.head(url) as answer:
            return answer.status == HTTPStatus.OK
    except (aiohttp.ClientError, OSError):
        return False


async def download(url: URL, into: IO[bytes], splitter: Splitter) -> None:
    """Fetch the file and feed the splitter; credentials in the URL are sent, redirects are not followed.

    Raises `ImportFailedError` when the file cannot be fetched whole.
    """
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            if answer.status != HTTPStatus.OK:
                raise ImportFailedError(f"the file's server answered {answer.status}")
            async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
                into.write(chunk)
                splitter.feed(chunk)
    except (aiohttp.ClientError, OSError) as trouble:
        raise ImportFailedError(f"the file could not be fetched: {type(trouble).__name__}") from trouble
    splitter.finish()


async def tell(url: URL, document: object) -> None:
    """POST a job's end to where the import asked for it; whatever comes of that is ignored."""
    try:
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session, session.post(url, json=document):
            pass
    except (aiohttp.ClientError, OSError, UnicodeError):
        # A host that no name server could be asked for is a UnicodeError.
        pass
