"""Reading contacts back from Cordial, and what a number of readings proves. Pure, no I/O."""

from enum import StrEnum

import msgspec

from service.model.changes import MemberState


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
