"""No container engine is needed: the file is read as one would read it, and its health check is run for real."""

import asyncio
import os
import re
import ssl
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.config.loading import load
from service.config.settings import ServerSettings
from tests.container.builder import BuildError, build
from tests.container.containerfile import parse_command, parse_health_check, read_containerfile
from tests.tls_fixtures import make_pair

ROOT = Path(__file__).parents[2]


FILE = read_containerfile()
BUILD, FINAL = FILE.stages
HEALTH_CHECK = parse_health_check(*FINAL.arguments("HEALTHCHECK"))


def test_two_stages_share_one_base_that_is_pinned_by_tag():
    assert (BUILD.name, FINAL.name) == ("build", "")
    assert {BUILD.base, FINAL.base} == {"${PYTHON_IMAGE}"}
    assert FILE.base_of(FINAL) == "python:3.11-slim-bookworm"


def test_everything_copied_exists_and_is_not_ignored():
    ignored = (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines()
    for stage in FILE.stages:
        for argument in stage.arguments("COPY"):
            *sources, _ = argument.split()
            if sources[0] == "--from=build":
                continue
            for source in sources:
                assert (ROOT / source).exists(), source
                first = PurePosixPath(source).parts[0]
                assert f"!{first}" in ignored or f"!{first}/" in ignored, source


def test_only_the_virtual_environment_and_the_configuration_reach_the_image():
    assert FINAL.arguments("COPY") == [
        "--from=build /opt/venv /opt/venv",
        "config.toml /etc/heap-cordial/config.toml",
    ]


def test_every_download_is_checked_against_a_hash():
    installs = [
        command for argument in BUILD.arguments("RUN") for command in argument.split("&&") if "pip install" in command
    ]
    assert len(installs) == 3
    for command in installs:
        assert "--require-hashes" in command or "--no-deps --no-build-isolation ." in command


def test_it_runs_as_a_numbered_user_who_owns_the_data():
    (user,) = FINAL.arguments("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    uid, gid = user.split(":")
    assert f"--owner={uid} --group={gid}" in FINAL.arguments("RUN")[0]
    assert FINAL.arguments("VOLUME") == ["/data"]
    names = [instruction.name for instruction in FINAL.instructions]
    assert names.index("USER") > names.index("RUN")


def test_the_service_is_process_one_and_its_command_can_be_replaced():
    (entrypoint,), (command,) = FINAL.arguments("ENTRYPOINT"), FINAL.arguments("CMD")
    assert parse_command(entrypoint) == ["heap-cordial"]
    assert parse_command(command) == ["serve", "--config", "/etc/heap-cordial/config.toml"]


def test_its_variables_are_understood_and_lead_to_the_volume():
    account = {
        "HEAP_CORDIAL__ACCOUNTS__ACME__HEAP_SECRET_ENV": "A",
        "HEAP_CORDIAL__ACCOUNTS__ACME__CORDIAL_API_KEY_ENV": "B",
    }
    settings = load(ROOT / "config.toml", FINAL.pairs("ENV") | account)
    assert settings.store.path == "/data/heap-cordial.db"
    assert FINAL.arguments("EXPOSE") == [str(settings.server.port)]


def test_its_labels_say_what_the_project_says():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert FINAL.pairs("LABEL") == {
        f"org.opencontainers.image.{label}": project[key]
        for label, key in {"title": "name", "description": "description", "version": "version"}.items()
    }


def test_docker_and_podman_keep_the_same_files_out():
    assert (ROOT / ".dockerignore").read_bytes() == (ROOT / ".containerignore").read_bytes()


@pytest.mark.parametrize("line", ["ADD . /opt", 'SHELL ["/bin/bash"]', "ENV A B", "CMD serve"])
def test_the_proof_refuses_what_it_cannot_carry_out(tmp_path, line):
    file = tmp_path / "Containerfile"
    file.write_text(f"FROM base\n{line}\n", encoding="utf-8")
    empty = tmp_path / "base"
    empty.mkdir()
    with pytest.raises((BuildError, ValueError)):
        build(read_containerfile(file), empty, tmp_path)


def test_it_holds_no_secret():
    for stage in FILE.stages:
        assert not [name for name in stage.pairs("ENV") if re.search(r"SECRET|API_KEY|TOKEN|PASSWORD", name)]
        assert not [argument for argument in stage.arguments("ARG") if "=" in argument]


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
async def test_the_health_check_asks_the_port_that_is_configured(status, healthy):
    async def livez(_: web.Request) -> web.Response:
        return web.Response(status=status)

    app = web.Application()
    app.router.add_get("/livez", livez)
    async with TestServer(app) as server:
        assert await _is_healthy(server.port) is healthy
    assert await _is_healthy(server.port) is False


async def test_the_health_check_speaks_tls_where_the_service_does(tmp_path):
    async def livez(_: web.Request) -> web.Response:
        return web.Response()

    pair = make_pair(tmp_path, "served")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    app = web.Application()
    app.router.add_get("/livez", livez)
    server = TestServer(app, scheme="https")
    await server.start_server(ssl=context)
    try:
        variable = {"HEAP_CORDIAL__SERVER__TLS_CERTIFICATE_FILE": str(pair.certificate)}
        assert await _is_healthy(server.port, **variable) is True
        assert await _is_healthy(server.port) is False
    finally:
        await server.close()


async def _is_healthy(port: int | None, **more_variables: str) -> bool:
    program, *rest = HEALTH_CHECK
    assert program == "python"
    variables = os.environ | {
        "HEAP_CORDIAL__SERVER__PORT": str(port),
        "http_proxy": "http://127.0.0.1:9",
        **more_variables,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, *rest, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return await process.wait() == 0


def test_the_health_check_falls_back_to_the_default_port():
    assert f"'{ServerSettings().port}'" in HEALTH_CHECK[-1]
