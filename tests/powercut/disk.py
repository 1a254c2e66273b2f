"""The disks that a power cut may leave, built from what a process wrote and synced. Pure: no file is touched here.

What POSIX promises, and no more: the content of a file is safe once a sync of that file has ended that began after the
write; a name (made, changed, taken away) is safe once a sync of its directory has ended that began after the change.
Everything else may be there, be missing, or be there in part, in any order between files.
"""

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import PurePosixPath
from typing import NamedTuple

from tests.powercut.trace import SystemCall


class Loss(StrEnum):
    """What happens to what was not synced.

    `dropped`: all of it is lost. `kept`: nothing is. `prefix`: what was written first survives. `torn_512`, `torn_4096`:
    the same, and of the next write only some sectors. `shuffled`: any writes and names survive, some writes torn. `apart`: of
    some files everything survives, of the others nothing.
    """

    DROPPED = "dropped"
    KEPT = "kept"
    PREFIX = "prefix"
    TORN_512 = "torn_512"
    TORN_4096 = "torn_4096"
    SHUFFLED = "shuffled"
    APART = "apart"


class _Change(NamedTuple):
    """A write, or with `data` None a truncation to `offset` bytes; `ended` is when the process knew it done."""

    offset: int
    data: bytes | None
    ended: int


class _File:
    def __init__(self, content: bytes = b"") -> None:
        self.durable = bytearray(content)
        self.pending: list[_Change] = []

    def size(self) -> int:
        size = len(self.durable)
        for change in self.pending:
            size = change.offset if change.data is None else max(size, change.offset + len(change.data))
        return size


class _Naming(NamedTuple):
    """A change of a directory, whole or not at all: `path` now names `file`, or nothing; `gone` names nothing any more."""

    path: str
    file: _File | None
    ended: int
    gone: str | None = None


class Disk:
    """The files below one directory as a process changes them, and what is safe of them."""

    def __init__(self, root: str, files: Mapping[str, bytes] | None) -> None:
        """`files` are safe at first; None says that there is no such directory."""
        self._root = root
        self._names = {path: _File(content) for path, content in (files or {}).items()}
        if files is not None:
            # The directory's own name.
            self._names[root] = _File()
        self._durable_names = dict(self._names)
        self._namings: list[_Naming] = []
        self._offsets: dict[tuple[str, str], int] = {}

    def begin(self, call: SystemCall) -> None:
        """Note what a call may have done as soon as it was made."""
        match call.name:
            case "pwrite64":
                self._write(call, call.numbers()[-1])
            case "write":
                self._write_on(call)
            case "ftruncate":
                self._change(call, _Change(call.numbers()[-1], None, call.ended))
            case "openat":
                self._open(call)
            case _:
                self._begin_naming(call)

    def _begin_naming(self, call: SystemCall) -> None:
        match call.name:
            case "rename" | "renameat" | "renameat2":
                source, target = self._paths(call)
                if self._is_below(target) and source in self._names:
                    self._rename(source, target, call.ended)
            case "mkdir" | "mkdirat":
                (path,) = self._paths(call)
                if path == self._root:
                    self._name(path, _File(), call.ended)
            case "link" | "linkat":
                source, target = self._paths(call)
                if self._is_below(target) and source in self._names:
                    self._name(target, self._names[source], call.ended)
            case "unlink" | "unlinkat":
                (path,) = self._paths(call)
                if path in self._names:
                    self._name(path, None, call.ended)
            case "copy_file_range" | "sendfile" if any(map(self._is_below, call.paths_of_descriptors())):
                raise NotImplementedError(f"{call.name} to the store is not understood")

    def end(self, call: SystemCall) -> None:
        """Note that a call has ended: a sync makes safe what had ended before it began."""
        if call.name not in {"fsync", "fdatasync"}:
            return
        (path,) = call.paths_of_descriptors()
        if path in self._names and path != self._root:
            file = self._names[path]
            done = [change for change in file.pending if change.ended < call.began]
            file.durable = _applied(file.durable, done)
            file.pending = file.pending[len(done) :]
        else:
            kept = []
            for naming in self._namings:
                if naming.ended < call.began and str(PurePosixPath(naming.path).parent) == path:
                    _apply_name(self._durable_names, naming)
                else:
                    kept.append(naming)
            self._namings = kept

    def after_power_cut(self, loss: Loss, chance: random.Random) -> dict[str, bytes]:
        """Return the files that are there after a power cut now, each with its content."""
        names = dict(self._durable_names)
        for naming in _surviving_namings(loss, self._namings, chance):
            _apply_name(names, naming)
        if names.pop(self._root, None) is None:
            return {}
        contents: dict[int, bytes] = {}
        for file in names.values():
            if id(file) not in contents:
                contents[id(file)] = bytes(_survive(file, loss, chance))
        return {path: contents[id(file)] for path, file in names.items()}

    def _open(self, call: SystemCall) -> None:
        path = self._paths(call)[0]
        if not self._is_below(path):
            return
        if "O_CREAT" in call.arguments and path not in self._names and not _is_ignored(path):
            self._name(path, _File(), call.ended)
        if "O_TRUNC" in call.arguments and path in self._names:
            self._names[path].pending.append(_Change(0, None, call.ended))
        self._offsets[path, str(call.result)] = 0

    def _write_on(self, call: SystemCall) -> None:
        path = call.paths_of_descriptors()[0]
        if path in self._names:
            place = path, str(call.numbers()[0])
            offset = self._offsets.get(place, self._names[path].size())
            self._write(call, offset)
            self._offsets[place] = offset + call.result

    def _write(self, call: SystemCall, offset: int) -> None:
        self._change(call, _Change(offset, call.texts()[0][: call.result] if call.result else b"", call.ended))

    def _change(self, call: SystemCall, change: _Change) -> None:
        path = call.paths_of_descriptors()[0]
        if path in self._names:
            self._names[path].pending.append(change)

    def _rename(self, source: str, target: str, ended: int) -> None:
        self._name(target, self._names[source], ended, gone=source)

    def _name(self, path: str, file: _File | None, ended: int, gone: str | None = None) -> None:
        naming = _Naming(path, file, ended, gone)
        _apply_name(self._names, naming)
        self._namings.append(naming)

    def _paths(self, call: SystemCall) -> list[str]:
        folders = call.paths_of_descriptors()
        texts = [text.decode(errors="replace") for text in call.texts()]
        return [text if text.startswith("/") else f"{folders[0] if folders else self._root}/{text}" for text in texts]

    def _is_below(self, path: str) -> bool:
        return path.startswith(f"{self._root}/")


def _is_ignored(path: str) -> bool:
    # The index of the WAL is made anew by whoever opens the file first; a lock file has no content.
    return path.endswith(("-shm", ".lock"))


def _apply_name(names: dict[str, _File], naming: _Naming) -> None:
    if naming.file is None:
        names.pop(naming.path, None)
    else:
        names[naming.path] = naming.file
    if naming.gone is not None:
        names.pop(naming.gone, None)


def _surviving_namings(loss: Loss, namings: list[_Naming], chance: random.Random) -> list[_Naming]:
    match loss:
        case Loss.DROPPED:
            return []
        case Loss.KEPT:
            return namings
        case Loss.SHUFFLED:
            return [naming for naming in namings if chance.random() < 0.5]
        case _:
            return namings[: chance.randint(0, len(namings))]


def _survive(file: _File, loss: Loss, chance: random.Random) -> bytearray:
    pending = file.pending
    match loss:
        case Loss.DROPPED:
            return file.durable
        case Loss.KEPT:
            return _applied(file.durable, pending)
        case Loss.APART:
            return _applied(file.durable, pending) if chance.random() < 0.5 else file.durable
        case Loss.SHUFFLED:
            kept = [change for change in pending if chance.random() < 0.5]
            return _applied(file.durable, itertools.chain.from_iterable(_torn(each, 512, chance) for each in kept))
        case Loss.PREFIX | Loss.TORN_512 | Loss.TORN_4096:
            number = chance.randint(0, len(pending))
            content = _applied(file.durable, pending[:number])
            if loss is Loss.PREFIX or number == len(pending):
                return content
            return _applied(content, _torn(pending[number], 512 if loss is Loss.TORN_512 else 4096, chance))


def _torn(change: _Change, sector_bytes: int, chance: random.Random) -> Iterator[_Change]:
    """Yield some of a write's sectors; a truncation happens or does not."""
    if change.data is None:
        yield change
        return
    start = change.offset
    while start < change.offset + len(change.data):
        stop = min((start // sector_bytes + 1) * sector_bytes, change.offset + len(change.data))
        if chance.random() < 0.5:
            yield change._replace(offset=start, data=change.data[start - change.offset : stop - change.offset])
        start = stop


def _applied(content: bytearray, changes: Iterable[_Change]) -> bytearray:
    content = bytearray(content)
    for offset, data, _ in changes:
        if data is None:
            del content[offset:]
            content.extend(bytes(offset - len(content)))
        else:
            content.extend(bytes(max(0, offset - len(content))))
            content[offset : offset + len(data)] = data
    return content
