"""Keeping other sites' pages from steering the service with the key that an operator's browser holds."""

from aiohttp import web
from aiohttp.typedefs import Handler

from service.errors import ErrorCode, ServiceError

# A page of another site cannot set either without asking first, and nothing here ever says yes.
_CUSTOM_HEADER = "X-Requested-With"
_JSON = "application/json"
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_OWN_SITES = {"same-origin", "none"}


@web.middleware
async def refuse_other_sites(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse an action that a page of another site asks for: 403; or that is not sent as JSON: 415."""
    if request.method not in _SAFE_METHODS and request.match_info.http_exception is None:
        if _is_of_other_site(request):
            raise ServiceError(ErrorCode.FORBIDDEN, "actions from pages of other sites are refused")
        if request.content_type != _JSON and (request.can_read_body or _CUSTOM_HEADER not in request.headers):
            raise ServiceError(
                ErrorCode.NOT_JSON,
                f"send the action as {_JSON}, or without a body and with the header {_CUSTOM_HEADER}",
            )
    return await handler(request)


def _is_of_other_site(request: web.Request) -> bool:
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in _OWN_SITES
    origin = request.headers.get("Origin")
    return origin is not None and origin.partition("://")[2] != request.host
