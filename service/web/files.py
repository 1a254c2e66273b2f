"""Files of the service's own pages, answered from memory.

A file opened for each answer, as aiohttp does it, would let whoever reads slowly hold two file descriptors with one
connection, and the answer would go past the bounds on connections.
"""

import functools
import gzip
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
    """One file, read when it is made, and compressed when somebody first takes that; `headers` go with each answer."""

    def __init__(self, path: Path, headers: Mapping[str, str]) -> None:
        plain = path.read_bytes()
        self._shared = {
            **headers,
            "Content-Type": f"{_CONTENT_TYPES[path.suffix]}; charset=utf-8",
            "Vary": "Accept-Encoding",
        }
        self._plain = _Form(plain, hashlib.sha256(plain).hexdigest(), self._shared)

    @functools.cached_property
    def _compressed(self) -> "_Form":
        # No start of the service waits for that.
        body = gzip.compress(self._plain.body, mtime=0)
        return _Form(body, f"{self._plain.tag}-gzip", {**self._shared, "Content-Encoding": "gzip"})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer with the file, compressed for whoever takes that, or with 304 when the client has it already."""
        accepts_gzip = "gzip" in request.headers.get("Accept-Encoding", "")
        form = self._compressed if accepts_gzip else self._plain
        if any(tag.value in {form.tag, "*"} for tag in request.if_none_match or ()):
            response = web.StreamResponse(status=304, headers=form.headers)
            await response.prepare(request)
            return response
        response = web.StreamResponse(headers=form.headers)
        response.content_length = len(form.body)
        await response.prepare(request)
        if request.method != "HEAD":
            for start in range(0, len(form.body), _PIECE_BYTES):
                await response.write(form.body[start : start + _PIECE_BYTES])
        await response.write_eof()
        return response


class _Form:
    """A file as it is answered: its bytes, their tag, and the headers that go with them."""

    def __init__(self, body: bytes, tag: str, headers: Mapping[str, str]) -> None:
        self.body = memoryview(body)
        self.tag = tag
        self.headers = {**headers, "ETag": f'"{tag}"'}
