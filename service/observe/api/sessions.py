"""Signing in to the dashboard: the API key is typed once and then stands for a cookie that scripts cannot read."""

import msgspec
from aiohttp import web
from aiohttp_apispec import docs

from service.observe.api import documentation as described
from service.observe.api.authentication import CALLER, SESSION_COOKIE, SESSION_SECONDS, ApiKeys
from service.observe.api.identity import KeyDocument
from service.observe.api.requests import NoOptions, NoQuery, read_body, read_query

_EXAMPLE = {"name": "API key marketing", "role": "operate"}


class SignedOut(msgspec.Struct, frozen=True):
    """The cookie is gone."""

    signed_out: bool = True


class Sessions:
    """Begins and ends what a browser is let in by."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys

    def add_routes(self, app: web.Application) -> None:
        """Serve `POST /session` and `POST /session/end`."""
        app.router.add_post("/session", self.begin)
        app.router.add_post("/session/end", self.end)

    @docs(
        **described.operation(
            "session",
            "Sign in",
            "Sets a cookie that replaces the API key, for twelve hours or until the key is replaced. Browsers "
            "send it by themselves, and no script can read it.",
            answer=KeyDocument,
            example=_EXAMPLE,
            query=NoQuery,
            body=NoOptions,
        )
    )
    async def begin(self, request: web.Request) -> web.Response:
        """Answer `POST /session`."""
        read_query(request, NoQuery)
        await read_body(request, NoOptions)
        caller = request[CALLER]
        response = described.json_response(KeyDocument(caller.name, caller.role.name.lower()))
        value = self._keys.session_for(request)
        # Heap's side needs HTTPS, and so the service is reached by it, or else from this machine alone.
        is_secure = request.secure or request.headers.get("X-Forwarded-Proto") == "https"
        response.set_cookie(
            SESSION_COOKIE, value, max_age=SESSION_SECONDS, httponly=True, samesite="Strict", secure=is_secure, path="/"
        )
        return response

    @docs(
        **described.operation(
            "session",
            "Sign out",
            "Removes the cookie from the browser.",
            answer=SignedOut,
            example={"signed_out": True},
            query=NoQuery,
            body=NoOptions,
        )
    )
    async def end(self, request: web.Request) -> web.Response:
        """Answer `POST /session/end`."""
        read_query(request, NoQuery)
        await read_body(request, NoOptions)
        response = described.json_response(SignedOut())
        response.del_cookie(SESSION_COOKIE, path="/")
        return response
