"""docs/setups/README.md followed to the letter: root's commands and the service that systemd starts use one store.

Only the places are the test's: /etc/heap-cordial and /var/lib/heap-cordial are folders of its own, and the unit's command is run
with the unit's variables, for no systemd runs here.
"""

import asyncio
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from service.sandbox.server import running_sandbox
from tests.command_fixtures import (
    PATIENCE_SECONDS,
    WEBHOOK_SECRET,
    Ended,
    clean_environment,
    wait_until_started,
)
from tests.ports import free_port
from tests.setups.test_files import PAGE, environment_of, read_unit

SECRETS = {"HEAP": WEBHOOK_SECRET, "CORDIAL": "sandbox-key"}


class Host:
    """A machine's /etc/heap-cordial, /var/lib/heap-cordial and /credentials, and root at its shell in some folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "etc/heap-cordial/config.toml"
        self.store = root / "var/lib/heap-cordial/heap-cordial.db"
        self.port = free_port()
        for folder in ("etc/heap-cordial", "var/lib/heap-cordial", "credentials", "somewhere"):
            (root / folder).mkdir(parents=True)

    def here(self, text: str) -> str:
        """Return a text with this host's places."""
        program = shlex.quote(str(Path(sys.executable).with_name("heap-cordial")))
        text = re.sub(r"(?<![\w/])(/etc/heap-cordial|/var/lib/heap-cordial)", rf"{self.root}\1", text)
        return re.sub(r"(?m)^(/opt/heap-cordial/\.venv/bin/)?heap-cordial(?= )", program, text)

    async def root_types(self, command: str, **variables: str) -> Ended:
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", self.here(command),
            cwd=self.root / "somewhere", env=clean_environment() | variables,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, errors = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
        assert process.returncode is not None
        return Ended(process.returncode, output.decode(), errors.decode())

    async def start_unit(self) -> asyncio.subprocess.Process:
        """Run the unit's command as systemd would: in /, with the unit's variables and copies of the secrets."""
        service = read_unit("heap-cordial.service")["Service"]
        for value in service["LoadCredential"]:
            name, source = value.split(":")
            shutil.copyfile(self.here(source), self.root / "credentials" / name)
        variables = environment_of(service["Environment"], d=str(self.root / "credentials"))
        with (self.root / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                "bash", "-c", f"exec {self.here(service['ExecStart'][0])}",
                cwd="/", env=clean_environment() | variables, stderr=log,
            )  # fmt: skip
        await wait_until_started(process, self.root / "log")
        return process


@pytest.fixture
async def host(tmp_path):
    async with running_sandbox() as cordial:
        host = Host(tmp_path)
        [init] = re.findall(r"(?m)^heap-cordial init .*$", PAGE)
        given = f"--cordial-base-url {cordial.url} --heap-secret-env HEAP --cordial-api-key-env CORDIAL"
        written = await host.root_types(f"{init} {given}", **SECRETS)
        assert written.status == 0, written.errors
        assert host.config.stat().st_mode & 0o777 == 0o644
        host.config.write_text(host.config.read_text().replace("port = 8080", f"port = {host.port}"))
        yield host


async def test_every_command_acts_on_the_store_of_the_service(host):
    config = "--config /etc/heap-cordial/config.toml"
    service = await host.start_unit()
    try:
        assert host.store.exists()
        checked = await host.root_types(f"heap-cordial check {config}")
        assert checked.status == 0, checked.errors
        assert f"store: {host.store} can be written" in checked.output
        status = await host.root_types(f"heap-cordial status {config}")
        assert (status.status, "service    ready" in status.output) == (0, True), status
        taken = await host.root_types(f"heap-cordial backup --to taken.db {config}")
        assert taken.status == 0, taken.errors
        refused = await host.root_types(f"heap-cordial restore --from taken.db --force {config}")
        assert (refused.status, refused.output) == (1, "")
        assert "in use" in refused.errors
    finally:
        service.terminate()
        assert await service.wait() == 0
    restored = await host.root_types(f"heap-cordial restore --from taken.db --force {config}")
    assert (restored.status, restored.output.startswith(f"{host.store}: ")) == (0, True), restored
    again = await host.start_unit()
    again.terminate()
    assert await again.wait() == 0
    # Nothing but what root asked for stands where root was.
    assert [path.name for path in (host.root / "somewhere").iterdir()] == ["taken.db"]


async def test_a_fault_of_the_configuration_ends_the_unit_for_good(host):
    host.config.write_text(host.config.read_text() + "no_such_key = 1\n")
    command = read_unit("heap-cordial.service")["Service"]["ExecStart"][0]
    ended = await host.root_types(command)
    assert str(ended.status) in read_unit("heap-cordial.service")["Service"]["RestartPreventExitStatus"]
    assert "no_such_key" in ended.errors
