"""Who competes: which processes each consists of, and which kinds of kill -9 it is put through."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from benchmarks.peers.processes import Program
from benchmarks.peers.programs.job import JobSettings
from benchmarks.service_process import ACCOUNT, free_port, write_configuration

_PROGRAMS = "benchmarks.peers.programs"
_REDIS = "redis-server"
_UNLIMITED_PER_SECOND = 10_000
_CONCURRENCY = 16
_LOOK_SOONER = {"PEER_SWEEP_SECONDS": "10"}


class Ending(NamedTuple):
    """A kill -9: which programs are spared, and what all are told besides, before it and after it."""

    label: str
    spared: Sequence[str] = ()
    environment: Mapping[str, str] = MappingProxyType({})


class Contender(NamedTuple):
    """One way of doing the job.

    `make_programs` is given the settings and the interpreter that has the peers' packages. `path` is where pages are
    posted. `patience_seconds` is how long nothing may move before it is sure that nothing will any more. `needs_packages`:
    it runs on the peers' interpreter; `needs_installed` names the system's programs it runs.
    """

    name: str
    make_programs: Callable[[JobSettings, str], list[Program]]
    endings: Sequence[Ending]
    patience_seconds: float
    path: str = "/"
    needs_packages: bool = True
    needs_installed: Sequence[str] = ()


def _heap_cordial(settings: JobSettings, _python: str) -> list[Program]:
    configuration = write_configuration(
        Path(settings.directory),
        settings.cordial_url,
        port=settings.port,
        requests_per_second=_UNLIMITED_PER_SECOND,
        max_concurrency=settings.concurrency,
    )
    command = [sys.executable, "-m", "service", "serve", "--config", str(configuration)]
    return [Program("heap-cordial", command, settings.port)]


def _script(settings: JobSettings, _python: str) -> list[Program]:
    return [Program("script", [sys.executable, "-m", f"{_PROGRAMS}.script"], settings.port)]


def _fastapi(settings: JobSettings, python: str) -> list[Program]:
    return [Program("fastapi", [python, "-m", f"{_PROGRAMS}.fastapi_service"], settings.port)]


def _saq(settings: JobSettings, python: str) -> list[Program]:
    port = settings.redis_url.rpartition(":")[2]
    # Debian's server with the persistence it comes with: snapshots, no log of each write.
    redis = [_REDIS, "--bind", "127.0.0.1", "--port", port, "--dir", settings.directory]
    return [
        Program("redis", redis, int(port)),
        Program("web", [python, "-m", f"{_PROGRAMS}.saq_web"], settings.port),
        Program("worker", [python, "-m", "saq", f"{_PROGRAMS}.saq_queue.settings"]),
    ]


CONTENDERS = {
    "heap-cordial": Contender(
        "heap-cordial",
        _heap_cordial,
        [Ending("the service")],
        patience_seconds=20.0,
        path=f"/webhooks/heap/{ACCOUNT}",
        needs_packages=False,
    ),
    "script": Contender("plain script", _script, [Ending("the script")], patience_seconds=4.0, needs_packages=False),
    "fastapi": Contender(
        "FastAPI, SQLAlchemy",
        _fastapi,
        [
            Ending("the service"),
            Ending("the service, which looks for unsent rows at its start", environment={"PEER_RESUME": "1"}),
        ],
        patience_seconds=10.0,
    ),
    "saq": Contender(
        "saq, Redis",
        _saq,
        [
            Ending("web front and worker; Redis lives", spared=("redis",), environment=_LOOK_SOONER),
            Ending("web front, worker and Redis", environment=_LOOK_SOONER),
        ],
        # A job that was begun is found stuck after its 10 s, at the next look.
        patience_seconds=25.0,
        needs_installed=[_REDIS],
    ),
}


def make_settings(
    cordial_url: str, cordial_api_key: str, heap_secret: str, list_name: str, directory: Path
) -> JobSettings:
    """Return the settings of a new contender, on ports that are free."""
    return JobSettings(
        heap_secret=heap_secret,
        port=free_port(),
        cordial_url=cordial_url,
        cordial_api_key=cordial_api_key,
        list_name=list_name,
        concurrency=_CONCURRENCY,
        directory=str(directory),
        redis_url=f"redis://127.0.0.1:{free_port()}",
    )
