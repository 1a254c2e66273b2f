"""No container engine is needed: the file is read as one would read it, and its health check is run for real."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.config import load
from service.settings import ServerSettings

ROOT = Path(__file__).parents[2]


def instructions() -> list[tuple[str, str]]:
    """Each instruction with its argument, comments gone and continued lines joined."""
    lines = [
        line for line in (ROOT / "Containerfile").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines() if line.strip()]


def stages() -> list[list[tuple[str, str]]]:
    starts = [index for index, (name, _) in enumerate(instructions()) if name == "FROM"]
    return [instructions()[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]


def arguments(name: str, of: list[tuple[str, str]]) -> list[str]:
    return [argument for each, argument in of if each == name]


def environment(of: list[tuple[str, str]]) -> dict[str, str]:
    return dict(pair.split("=", 1) for argument in arguments("ENV", of) for pair in argument.split())


def health_check() -> list[str]:
    (argument,) = arguments("HEALTHCHECK", stages()[-1])
    command: list[str] = json.loads(argument.partition("CMD ")[2])
    return command


def test_two_stages_share_one_base_that_is_pinned_by_tag():
    build, final = (arguments("FROM", stage)[0] for stage in stages())
    (base,) = arguments("ARG", instructions())
    assert build == "${PYTHON_IMAGE} AS build"
    assert final == "${PYTHON_IMAGE}"
    assert base == "PYTHON_IMAGE=python:3.11-slim-bookworm"


def test_everything_copied_exists_and_is_not_ignored():
    ignored = (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines()
    for stage in stages():
        for argument in arguments("COPY", stage):
            *sources, _ = argument.split()
            if sources[0] == "--from=build":
                continue
            for source in sources:
                assert (ROOT / source).exists(), source
                first = PurePosixPath(source).parts[0]
                assert f"!{first}" in ignored or f"!{first}/" in ignored, source


def test_only_the_virtual_environment_and_the_configuration_reach_the_image():
    assert arguments("COPY", stages()[-1]) == [
        "--from=build /opt/venv /opt/venv",
        "config.toml /etc/heap-cordial/config.toml",
    ]


def test_every_download_is_checked_against_a_hash():
    installs = [
        command
        for argument in arguments("RUN", stages()[0])
        for command in argument.split("&&")
        if "pip install" in command
    ]
    assert len(installs) == 3
    for command in installs:
        assert "--require-hashes" in command or "--no-deps --no-build-isolation ." in command


def test_it_runs_as_a_numbered_user_who_owns_the_data():
    final = stages()[-1]
    (user,) = arguments("USER", final)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    uid, gid = user.split(":")
    assert f"--owner={uid} --group={gid}" in arguments("RUN", final)[0]
    assert arguments("VOLUME", final) == ["/data"]
    names = [name for name, _ in final]
    assert names.index("USER") > names.index("RUN")


def test_the_service_is_process_one_and_its_command_can_be_replaced():
    final = stages()[-1]
    assert json.loads(arguments("ENTRYPOINT", final)[0]) == ["heap-cordial"]
    assert json.loads(arguments("CMD", final)[0]) == ["serve", "--config", "/etc/heap-cordial/config.toml"]


def test_its_variables_are_understood_and_lead_to_the_volume():
    account = {
        "HEAP_CORDIAL__ACCOUNTS__ACME__HEAP_SECRET_ENV": "A",
        "HEAP_CORDIAL__ACCOUNTS__ACME__CORDIAL_API_KEY_ENV": "B",
    }
    settings = load(ROOT / "config.toml", environment(stages()[-1]) | account)
    assert settings.store.path == "/data/heap-cordial.db"
    assert arguments("EXPOSE", stages()[-1]) == [str(settings.server.port)]


def test_it_holds_no_secret():
    for stage in stages():
        assert not [name for name in environment(stage) if re.search(r"SECRET|API_KEY|TOKEN|PASSWORD", name)]
        assert not [argument for argument in arguments("ARG", stage) if "=" in argument]


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
async def test_the_health_check_asks_the_port_that_is_configured(status, healthy):
    async def livez(_: web.Request) -> web.Response:
        return web.Response(status=status)

    app = web.Application()
    app.router.add_get("/livez", livez)
    async with TestServer(app) as server:
        assert await _is_healthy(server.port) is healthy
    assert await _is_healthy(server.port) is False


async def _is_healthy(port: int | None) -> bool:
    program, *rest = health_check()
    assert program == "python"
    variables = os.environ | {
        "HEAP_CORDIAL__SERVER__PORT": str(port),
        "http_proxy": "http://127.0.0.1:9",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, *rest, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return await process.wait() == 0


def test_the_health_check_falls_back_to_the_default_port():
    assert f"'{ServerSettings().port}'" in health_check()[-1]
