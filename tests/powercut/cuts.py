"""Choosing where the power is cut and what is lost, and looking at each disk once."""

import hashlib
import random
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from tests.powercut.disk import Disk, Loss
from tests.powercut.examination import faults_after
from tests.powercut.lives import Promises, Record, Told, promised
from tests.powercut.trace import SystemCall


class Cut(NamedTuple):
    """A power cut right before the place `at` of the record, what it left, and what had been promised by then."""

    at: int
    at_seconds: float
    loss: Loss
    files: dict[str, bytes]
    promises: Promises

    def __str__(self) -> str:
        return f"cut at {self.at}, unsynced writes {self.loss}"


class Findings(NamedTuple):
    """How many different disks were looked at, of which losses, and what was wrong with which."""

    disks: int
    by_loss: Counter[Loss]
    faults: list[str]


def cuts(record: Record, number: int, chance: random.Random) -> Iterator[Cut]:
    """Yield up to so many cuts that leave different disks: around syncs and answers above all, and anywhere between."""
    places = _places(record, chance)
    wanted = [places[index * len(places) // number] for index in range(number)] if number < len(places) else places
    rounds = -(-number // max(1, len(wanted)))
    plans: dict[int, list[Loss]] = {}
    losses = list(Loss)
    for place in wanted:
        plans.setdefault(place, []).extend(chance.choice(losses) for _ in range(rounds))
    for began, what in promised(record.calls):
        if isinstance(what, str):
            # It is said once in a life.
            plans[began + 1] = losses
    seen: set[bytes] = set()
    for at, at_seconds, disk in _replay(record, sorted(plans)):
        promises = _promises(record, at)
        for loss in plans[at]:
            files = disk.after_power_cut(loss, chance)
            digest = hashlib.sha256(repr((sorted(files.items()), promises)).encode()).digest()
            if digest not in seen and len(seen) < number:
                seen.add(digest)
                yield Cut(at, at_seconds, loss, files, promises)


async def examine(record: Record, number: int, seed: int, *, max_faulty: int) -> Findings:
    """Look at up to so many disks that a power cut during a life may leave; end after so many with a fault."""
    by_loss: Counter[Loss] = Counter()
    faults: list[str] = []
    faulty = 0
    chance = random.Random(seed)  # noqa: S311  repeatable, not unguessable
    chosen = list(cuts(record, number, chance))
    # What is wrong may be wrong at the end alone.
    chance.shuffle(chosen)
    for cut in chosen:
        by_loss[cut.loss] += 1
        found = await faults_after(cut.files, record, cut.promises, _told_by(record, cut.at_seconds))
        faults += [f"{cut}: {fault}" for fault in found]
        faulty += bool(found)
        if faulty == max_faulty:
            break
    return Findings(sum(by_loss.values()), by_loss, faults)


def _told_by(record: Record, at_seconds: float) -> Told:
    """Return what Cordial knew by then, or when it had carried out the files that it had then."""
    number = max(index for index, told in enumerate(record.told) if not index or told.at_seconds <= at_seconds)
    return next((told for told in record.told[number:] if not told.is_working), record.told[-1])


def _promises(record: Record, at: int) -> Promises:
    made = [what for began, what in promised(record.calls) if began < at]
    return Promises(
        record.taken_before | {what for what in made if isinstance(what, int)},
        {what for what in made if isinstance(what, str)},
    )


def _places(record: Record, chance: random.Random) -> list[int]:
    """Return places in the record, in order: before and after each sync and each answer, and as many others."""
    places: set[int] = set()
    touching = {"pwrite64", "write", "ftruncate", "rename", "link", "unlink", "openat", "mkdir"}
    others: list[int] = []
    for call in record.calls:
        if call.name in {"fsync", "fdatasync"}:
            places |= {call.began, call.began + 1, call.ended + 1}
        elif call.name in touching and any(record.root in text for text in _names_in(call)):
            others.append(call.ended + 1)
    places |= {began + 1 for began, _ in promised(record.calls)}
    places |= set(chance.sample(others, min(len(others), len(places))))
    return sorted(places)


def _names_in(call: SystemCall) -> list[str]:
    return [
        *call.paths_of_descriptors(),
        *(text.decode(errors="replace") for text in call.texts()[:1] if call.name != "pwrite64"),
    ]


def _replay(record: Record, places: list[int]) -> Iterator[tuple[int, float, Disk]]:
    """Yield the disk as it was just before each place, with the time."""
    disk = Disk(record.root, record.files)
    steps = sorted(
        [(call.began, 0, call) for call in record.calls] + [(call.ended, 1, call) for call in record.calls],
        key=lambda step: step[:2],
    )
    remaining = iter(places)
    place = next(remaining, None)
    for index, is_end, call in steps:
        while place is not None and place <= index:
            yield place, call.at_seconds, disk
            place = next(remaining, None)
        if is_end:
            disk.end(call)
        else:
            disk.begin(call)
    while place is not None:
        yield place, record.calls[-1].at_seconds, disk
        place = next(remaining, None)
