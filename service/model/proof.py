"""Reading contacts back from Cordial, and what a number of readings proves. Pure, no I/O."""

import math
from enum import StrEnum

import msgspec

from service.model.changes import MemberState

# One minus the confidence.
_DOUBT = 0.05


class ReadBackReason(StrEnum):
    """Why a contact is read back.

    `lost_answer`: a call for it ended without an answer, and Cordial may still carry it out. `crash`: the service ended
    while a call for it may have been on its way. `absent`: Cordial said that there is no such contact. `named`: a
    comparison or a person named it. `sample`: to prove the ledger right.
    """

    LOST_ANSWER = "lost_answer"
    CRASH = "crash"
    ABSENT = "absent"
    NAMED = "named"
    SAMPLE = "sample"

    @property
    def is_doubt(self) -> bool:
        """Whether an old call may still be carried out until the contact is due."""
        return self in {ReadBackReason.LOST_ANSWER, ReadBackReason.CRASH}


class DueReadBack(msgspec.Struct, frozen=True):
    """A contact (`key:value`) to be read now; `tries` readings found it to differ so far."""

    contact: str
    reason: ReadBackReason
    due_at_ms: int
    tries: int


class Membership(msgspec.Struct, frozen=True):
    """One row of the ledger as it stood at a moment: any change to it shows here."""

    segment_id: int
    wanted: bool
    state: MemberState
    sync_id: int
    delivery_id: int


class LedgerContact(msgspec.Struct, frozen=True):
    """All that the ledger has of a contact; `travels`: a file that carries it is under way."""

    memberships: tuple[Membership, ...]
    travels: bool


class Finding(msgspec.Struct, frozen=True):
    """What reading a contact back came to.

    `before` is the ledger as it was before the call: the reading holds only if it is the same still. `compared` are the
    segments whose lists could be compared, `differing` those of them where Cordial has it otherwise. `mend`: have these
    sent again. `again_at_ms`: when to read again; None if there is no need.
    """

    contact: str
    reason: ReadBackReason
    before: LedgerContact
    compared: tuple[int, ...] = ()
    differing: tuple[int, ...] = ()
    mend: bool = False
    again_at_ms: int | None = None
    tries: int = 0


def differ_at_most(read: int, differ: int, of: int) -> float | None:
    """Return what share of `of` members differs at most, with 95 % confidence, where `differ` of `read` did.

    The members read are taken for a random choice without repetition, so this is the exact bound of the hypergeometric
    distribution: the largest number of differing members with which so few would turn up in one of twenty choices. None
    where nobody was read.
    """
    if read <= 0 or of <= 0:
        return None
    read, differ = min(read, of), min(differ, read, of)
    least, most = differ, of - (read - differ)
    while least < most:
        middle = (least + most + 1) // 2
        if _chance_of_so_few(middle, read, differ, of) > _DOUBT:
            least = middle
        else:
            most = middle - 1
    return least / of


def _chance_of_so_few(differing: int, read: int, found: int, of: int) -> float:
    """Return how likely at most `found` of `read` members differ, if `differing` of all do."""
    every = _log_choices(of, read)
    chances = (
        math.exp(_log_choices(differing, number) + _log_choices(of - differing, read - number) - every)
        for number in range(max(0, read - (of - differing)), min(found, differing) + 1)
    )
    return math.fsum(chances)


def _log_choices(number: int, chosen: int) -> float:
    return math.lgamma(number + 1) - math.lgamma(chosen + 1) - math.lgamma(number - chosen + 1)


def proof_in_words(read: int, differ: int, of: int) -> str:
    """Say what a day's readings prove of `of` members; the share is rounded up."""
    bound = differ_at_most(read, differ, of)
    if bound is None:
        return "no member read back in the last day"
    share = math.ceil(round(bound * 10_000, 6)) / 100
    verb = "differs" if differ == 1 else "differ"
    return (
        f"{min(read, of):,} of {of:,} members read back in the last day, {differ:,} {verb}: "
        f"with 95 % confidence at most {share:.2f} % do"
    )


class AudiencePage(msgspec.Struct, frozen=True):
    """A page of those on a list: for each, the contacts (`key:value`) that they may be in the ledger."""

    people: list[list[str]]
