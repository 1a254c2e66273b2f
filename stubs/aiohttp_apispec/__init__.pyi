# Types of the parts of aiohttp-apispec that the service uses; the package has none of its own.

from collections.abc import Callable
from typing import Any, TypeVar

from aiohttp import web
from apispec import APISpec

_Handler = TypeVar("_Handler", bound=Callable[..., Any])

class AiohttpApiSpec:
    spec: APISpec
    def __init__(self, url: str | None = ..., *, title: str, version: str) -> None: ...
    def register(self, app: web.Application, in_place: bool = ...) -> None: ...

def docs(**keywords: Any) -> Callable[[_Handler], _Handler]: ...
