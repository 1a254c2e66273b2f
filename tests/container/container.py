"""A built image, run as an engine would: a root that cannot be written, a process tree of its own, one volume."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.command_fixtures import PATIENCE_SECONDS
from tests.container.builder import Image
from tests.container.confinement import OWN_MOUNTS_AND_PROCESSES, enter, refused_namespaces

SECRETS = "/run/secrets"
# $1 root, $2 volume outside, $3 volume inside, $4 secrets outside, $5 secrets inside; the command follows.
_PREPARE = f"""
root=$1
mount --bind "$root" "$root"
mount --bind "$2" "$root$3"
mount -t proc proc "$root/proc"
mount -t tmpfs -o size=1m tmpfs "$root/run"
mkdir "$root{SECRETS}"
mount --bind "$4" "$root{SECRETS}"
mount -o remount,bind,ro "$root{SECRETS}"
mount -o remount,ro "$root/run"
mount -o remount,bind,ro "$root"
shift 4
exec "$@"
"""


class Ended(NamedTuple):
    """What came of a command that ran in the container: its exit status and everything it wrote."""

    status: int
    output: str


class Container:
    """A running container; `pid` is what its first process is called outside."""

    def __init__(self, image: Image, environment: Mapping[str, str], process: asyncio.subprocess.Process) -> None:
        self.pid = process.pid
        self._image = image
        self._environment = environment
        self._process = process

    @property
    def is_running(self) -> bool:
        """Whether the first process has not ended yet."""
        return self._process.returncode is None

    async def find_first_process(self) -> None:
        """Wait until the service's own process is there: `unshare` stays outside as its parent."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.is_running and not _children(self._process.pid):  # noqa: ASYNC110  the kernel tells nobody
                await asyncio.sleep(0.01)
        if self.is_running:
            [self.pid] = _children(self._process.pid)

    async def run(self, command: Sequence[str], *, user: str | None = None) -> Ended:
        """Run one more command inside, as the image's user or another one."""
        inside = enter(
            Path("/") if not refused_namespaces() else self._image.root,
            command,
            self._environment,
            directory=self._image.directory,
            user=user or self._image.user,
        )
        joined = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--root", "--"]
        process = await asyncio.create_subprocess_exec(
            *([] if refused_namespaces() else joined),
            *inside,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode is not None
        return Ended(process.returncode, output.decode(errors="replace"))

    async def stop(self) -> int:
        """Send SIGTERM to the first process, as engines do, and return the status it ends with."""
        os.kill(self.pid, signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._process.wait()

    def status(self, field: str) -> str:
        """Return what the kernel says of the first process: `Uid`, `NSpid`, `VmHWM`."""
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines()
        [value] = [line.partition(":")[2].strip() for line in lines if line.startswith(f"{field}:")]
        return value


@contextlib.asynccontextmanager
async def running_container(
    image: Image,
    folder: Path,
    secrets: Mapping[str, str],
    variables: Mapping[str, str],
    *,
    data_bytes: int | None = None,
) -> AsyncIterator[Container]:
    """Run the image's own command, with its volume in `folder`/data and its log in `folder`/log.

    `secrets`: contents by file name, below `/run/secrets`. `data_bytes`: the most memory the process may have to write
    to. Without namespaces (`refused_namespaces`) it is only another root: writable, in the outer process tree.
    """
    environment = {**image.environment, **variables}
    limit = [] if data_bytes is None else ["prlimit", f"--data={data_bytes}"]
    command = [*image.entrypoint, *image.command]
    service = [*limit, *enter(image.root, command, environment, directory=image.directory, user=image.user)]
    make = _copied_into_the_root if refused_namespaces() else _to_be_mounted
    to_empty, preparation = make(image, folder, secrets)
    service = [*preparation, *service]
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*service, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    container = Container(image, environment, process)
    try:
        if not refused_namespaces():
            await container.find_first_process()
        yield container
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(container.pid, signal.SIGKILL)
            await process.wait()
        for path in to_empty:
            _empty(path)


def _to_be_mounted(image: Image, folder: Path, secrets: Mapping[str, str]) -> tuple[list[Path], list[str]]:
    """Make volume and secrets in `folder`; return no folder to be emptied, and the words that mount them."""
    [volume] = image.volumes
    _copy_volume(image, folder / "data")
    _write_secrets(folder / "secrets", secrets, owner_id=_user_id(image))
    prepare = [str(image.root), str(folder / "data"), volume, str(folder / "secrets")]
    return [], [*OWN_MOUNTS_AND_PROCESSES, "sh", "-euc", _PREPARE, "sh", *prepare]


def _copied_into_the_root(image: Image, folder: Path, secrets: Mapping[str, str]) -> tuple[list[Path], list[str]]:
    """Make volume and secrets in the root itself; return the folders to be emptied, and no words."""
    kept = image.root / SECRETS.lstrip("/")
    _write_secrets(kept, secrets, owner_id=_user_id(image))
    [volume] = image.volumes
    inside = image.root / volume.lstrip("/")
    (folder / "data").symlink_to(inside)
    return [kept, inside], []


def _copy_volume(image: Image, place: Path) -> None:
    """As an engine does with a new volume: it begins as the image's directory, with its owner and mode."""
    [volume] = image.volumes
    inside = image.root / volume.lstrip("/")
    shutil.copytree(inside, place)
    os.chown(place, inside.stat().st_uid, inside.stat().st_gid)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _user_id(image: Image) -> int:
    return int(image.user.partition(":")[0])


def _write_secrets(folder: Path, secrets: Mapping[str, str], *, owner_id: int) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in secrets.items():
        file = folder / name
        file.write_text(text, encoding="utf-8")
        file.chmod(0o400)
        os.chown(file, owner_id, -1)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except FileNotFoundError:
        return []
