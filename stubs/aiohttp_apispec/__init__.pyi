# Types of the parts of aiohttp-apispec that the service uses; the package has none of its own.

from collections.abc import Callable
from typing import Any, TypeVar

from aiohttp import web
from apispec import APISpec

_Handler = TypeVar("_Handler", bound=Callable[..., Any])

class AiohttpApiSpec:
    spec: APISpec

def docs(**keywords: Any) -> Callable[[_Handler], _Handler]: ...
def setup_aiohttp_apispec(
    app: web.Application,
    *,
    title: str = ...,
    version: str = ...,
    url: str | None = ...,
    swagger_path: str | None = ...,
    in_place: bool = ...,
) -> AiohttpApiSpec: ...
