"""Files of the service's own pages, answered from memory.

A file opened for each answer, as aiohttp does it, would let whoever reads slowly hold two file descriptors with one
connection, and the answer would go past the bounds on connections.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from aiohttp import web

# So much of an answer that is not read stays in memory, however large the file.
_PIECE_BYTES = 65_536
_CONTENT_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".md": "text/plain",
    ".svg": "image/svg+xml",
}


class StaticFile:
    """One file, read when it is made; `headers` go with each answer."""

    def __init__(self, path: Path, headers: Mapping[str, str]) -> None:
        self._body = memoryview(path.read_bytes())
        tag = hashlib.sha256(self._body).hexdigest()
        self._tag = tag
        self._headers = {**headers, "Content-Type": f"{_CONTENT_TYPES[path.suffix]}; charset=utf-8", "ETag": f'"{tag}"'}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer with the file, or with 304 when the client has it already."""
        if any(tag.value in {self._tag, "*"} for tag in request.if_none_match or ()):
            response = web.StreamResponse(status=304, headers=self._headers)
            await response.prepare(request)
            return response
        response = web.StreamResponse(headers=self._headers)
        response.content_length = len(self._body)
        await response.prepare(request)
        if request.method != "HEAD":
            for start in range(0, len(self._body), _PIECE_BYTES):
                await response.write(self._body[start : start + _PIECE_BYTES])
        await response.write_eof()
        return response
