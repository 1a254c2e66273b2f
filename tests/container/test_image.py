"""The Containerfile's own steps carried out in a clean root, and the service run there as an engine runs it.

Needs root and mmdebstrap, and Debian's and Python's packages within reach; without them these tests are skipped with the
reason, unless HOST_TOOLS=required.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest

from service.sandbox.heap_pages import build_pages, post_page
from service.sandbox.options import DEFAULT_API_KEY, SandboxOptions
from service.sandbox.server import RunningSandbox, running_sandbox
from tests.command_fixtures import PATIENCE_SECONDS, eventually
from tests.container.base_root import UnprovableError, base_root
from tests.container.builder import Image, build
from tests.container.confinement import refused_namespaces
from tests.container.container import SECRETS, Container, running_container
from tests.container.containerfile import read_containerfile
from tests.ports import free_port

HEAP_SECRET = "a made-up secret"
USERS = [f"user{number}@example.com" for number in range(2_500)]
MEBIBYTE = 1 << 20
# The smallest host that is offered.
HOST_BYTES = 256 * MEBIBYTE

needs_namespaces = pytest.mark.skipif(
    bool(refused_namespaces()), reason=f"chroot only: no namespaces are permitted here: {refused_namespaces()}"
)


@contextlib.contextmanager
def provable() -> Iterator[None]:
    """Skip, or fail where the proof is required, when this machine cannot do what the block asks."""
    try:
        yield
    except UnprovableError as reason:
        if os.environ.get("HOST_TOOLS") == "required":
            raise
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def base() -> Path:
    with provable():
        return base_root()


@pytest.fixture(scope="module")
def image(base: Path) -> Iterator[Image]:
    with tempfile.TemporaryDirectory(dir=base.parent, prefix="image-") as folder:
        with provable():
            built = build(read_containerfile(), base, Path(folder))
        yield built


@pytest.fixture
def tell(capfd) -> Callable[[str], None]:
    """Print a figure for people, past what pytest captures."""

    def write(text: str) -> None:
        with capfd.disabled():
            print(f"\n{text}")  # noqa: T201

    return write


@pytest.fixture
async def cordial() -> AsyncIterator[RunningSandbox]:
    async with running_sandbox(SandboxOptions(journal=True)) as sandbox:
        yield sandbox


@pytest.fixture
def folder(base: Path) -> Iterator[Path]:
    # Beside the image and open to all: pytest's own directories are closed to the user of the image.
    path = Path(tempfile.mkdtemp(dir=base.parent, prefix="volume-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


class Running(NamedTuple):
    container: Container
    url: str

    async def status_of(self, path: str) -> int:
        assert self.container.is_running
        try:
            async with aiohttp.ClientSession() as session, session.get(self.url + path) as answer:
                return answer.status
        except aiohttp.ClientError:
            return 0

    async def deliver(self, add: list[str], remove: list[str], task: str) -> None:
        async with aiohttp.ClientSession() as session:
            for page in build_pages(7, "Active Users", add, remove, task_id=task):
                answer = await post_page(session, f"{self.url}/webhooks/heap/acme", HEAP_SECRET, page)
                assert answer.status == 200, answer


@pytest.fixture
async def running(image: Image, folder: Path, cordial: RunningSandbox, request) -> AsyncIterator[Running]:
    port = free_port()
    settings = {
        "SERVER__HOST": "127.0.0.1",
        "SERVER__PORT": str(port),
        "SERVER__API_KEY_FILE": f"{SECRETS}/api-key",
        "ACCOUNTS__ACME__HEAP_SECRET_FILE": f"{SECRETS}/heap-secret",
        "ACCOUNTS__ACME__CORDIAL_API_KEY_FILE": f"{SECRETS}/cordial-api-key",
        "ACCOUNTS__ACME__CORDIAL_BASE_URL": cordial.url,
        "ACCOUNTS__ACME__REQUESTS_PER_SECOND": "10000",
    }
    variables = {f"HEAP_CORDIAL__{key}": value for key, value in settings.items()}
    secrets = {"heap-secret": HEAP_SECRET, "cordial-api-key": DEFAULT_API_KEY, "api-key": "a key for people"}
    data_bytes = getattr(request, "param", None)
    async with running_container(image, folder, secrets, variables, data_bytes=data_bytes) as container:
        run = Running(container, f"http://127.0.0.1:{port}")
        try:
            await eventually(lambda: run.status_of("/readyz"), 200)
        except AssertionError as error:
            error.add_note((folder / "log").read_text(encoding="utf-8"))
            raise
        yield run


def files_of(root: Path) -> set[str]:
    return {
        str(Path(directory, name).relative_to(root))
        for directory, directories, names in os.walk(root)
        for name in [*names, *directories]
    }


def test_the_image_adds_the_service_and_its_configuration_alone(image, base):
    added = files_of(image.root) - files_of(base)
    elsewhere = {path for path in added if not f"{path}/".startswith(("opt/venv/", "etc/heap-cordial/", "data/"))} - {
        "opt",
        "etc/.pwd.lock",
    }
    # The system's list of users, kept as it was before the image's own was added.
    assert elsewhere <= {"etc/passwd-", "etc/shadow-", "etc/group-", "etc/gshadow-", "etc/subuid-", "etc/subgid-"}
    assert "opt/venv/bin/heap-cordial" in added


def test_the_image_holds_nothing_that_only_builds_tests_or_types(image, base):
    added = files_of(image.root) - files_of(base)
    names = {Path(path).name for path in added}
    assert not names & {"pip", "pip3", "setuptools", "wheel", "_distutils_hack", "gcc", "cc", "uv", "tests", "pytest"}
    assert not {path for path in added if Path(path).suffix in {".pyi", ".pyx", ".c", ".h"}}
    assert not {path for path in added if path.startswith("data/")}


def test_every_module_is_compiled_because_its_user_may_not_write_bytecode(image):
    libraries = image.root / "opt/venv/lib"
    sources = {path.relative_to(libraries) for path in libraries.rglob("*.py")}
    compiled = {
        path.relative_to(libraries).parent.parent / f"{path.name.partition('.')[0]}.py"
        for path in libraries.rglob("__pycache__/*.pyc")
    }
    assert sources == compiled


def test_the_image_adds_little(image, base, tell):
    paths = [image.root / name for name in files_of(image.root) - files_of(base)]
    sizes = [path.lstat().st_size for path in paths if not path.is_dir()]
    tell(f"the image adds {sum(sizes) / MEBIBYTE:.1f} MiB in {len(sizes):,} files to its base")
    assert sum(sizes) < 30 * MEBIBYTE


async def test_a_segment_is_synced_to_an_exact_list(running, cordial, folder):
    await running.deliver(USERS, [], "task-1")
    await eventually(lambda: _members(cordial), sorted(USERS))
    await running.deliver([], USERS[:700], "task-2")
    await eventually(lambda: _members(cordial), sorted(USERS[700:]))
    assert [path.name for path in (folder / "data").iterdir() if path.suffix == ".db"] == ["heap-cordial.db"]


async def test_the_health_check_tells_a_living_service_from_a_dead_one(running, image):
    assert await running.container.run(image.health_check) == (0, "")
    elsewhere = ["env", f"HEAP_CORDIAL__SERVER__PORT={free_port()}", *image.health_check]
    assert (await running.container.run(elsewhere)).status != 0


async def test_sigterm_ends_it_in_order(running, folder):
    await running.deliver(USERS, [], "task-1")
    assert await running.container.stop() == 0
    # A checkpointed store has no log beside it that would have to be replayed.
    assert {path.name for path in (folder / "data").iterdir()} == {"heap-cordial.db", "heap-cordial.db.acknowledged"}


async def test_it_runs_as_nobody_that_the_host_knows(running):
    assert running.container.status("Uid").split() == ["10001"] * 4
    assert running.container.status("Gid").split() == ["10001"] * 4
    assert running.container.status("CapEff") == "0" * 16


@needs_namespaces
async def test_it_is_process_one(running):
    assert running.container.status("NSpid").split()[-1] == "1"
    assert running.container.status("Name") == "heap-cordial"


@needs_namespaces
async def test_it_needs_nothing_writable_but_its_volume(running, image, cordial):
    before = _state_of(image.root)
    await running.deliver(USERS, [], "task-1")
    await eventually(lambda: _members(cordial), sorted(USERS))
    # Not even root could: the mounts forbid it, not only the owners of the files.
    for place in ("/", "/tmp", "/var/tmp", "/opt/venv", "/etc/heap-cordial", SECRETS):  # noqa: S108  nothing is kept there
        tried = await running.container.run(["touch", f"{place}/mark"], user="0:0")
        assert "Read-only file system" in tried.output, place
    assert (await running.container.run(["touch", "/data/mark"])).status == 0
    assert await running.container.stop() == 0
    assert _state_of(image.root) == before


@pytest.mark.parametrize("running", [HOST_BYTES], indirect=True)
async def test_the_smallest_host_is_large_enough_for_tens_of_thousands_of_users(running, cordial, tell):
    many = [f"user{number}@example.com" for number in range(30_000)]
    await running.deliver(many, [], "task-1")
    async with asyncio.timeout(10 * PATIENCE_SECONDS):
        while len(cordial.state.lists_by_name["ActiveUsers"].members) < len(many):  # noqa: ASYNC110  looked at from outside
            await asyncio.sleep(0.1)
    assert cordial.state.members("ActiveUsers") == sorted(many)
    peak_kibibytes = int(running.container.status("VmHWM").split()[0])
    tell(f"30,000 users with {HOST_BYTES >> 20} MiB to write to: {peak_kibibytes >> 10} MiB resident at most")
    assert peak_kibibytes * 1024 < HOST_BYTES
    assert await running.container.stop() == 0


async def _members(cordial: RunningSandbox) -> list[str]:
    try:
        return cordial.state.members("ActiveUsers")
    except KeyError:
        return []


def _state_of(root: Path) -> set[tuple[str, int, int]]:
    return {
        (name, (state := (root / name).lstat()).st_size, state.st_mtime_ns)
        for name in files_of(root)
        if not name.startswith("proc/")
    }
