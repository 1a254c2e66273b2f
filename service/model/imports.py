"""What the stages speak of when changes travel as a file: an import, its parts, their jobs, the file's format. No I/O."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from service.model.views import Count


class Strategy(StrEnum):
    """Which contacts a job may touch; the values are Cordial's.

    Never both kinds in one job (R14): an import sets a subscription unless told otherwise. `updateOnly` creates nobody
    to subscribe; `insertOnly` names a status, and touches nobody who has one already.
    """

    UPDATE_ONLY = "updateOnly"
    INSERT_ONLY = "insertOnly"


# The format of a file: a row for each contact, without a header. Cordial's contract: a cell with the import's
# `nullMarker` is skipped. It is one character, as `0` and `1` are: all rows are equally long but for the address.
DELIMITER = ","
NULL_MARKER = "-"
_ADDRESS_COLUMN = "channels.email.address"
_STATUS_COLUMN = "channels.email.subscribeStatus"
# Cordial's contract: without a status, a contact made by an import is subscribed (R14).
_NEVER_SUBSCRIBED = "none"


def file_columns(strategy: Strategy, lists: Sequence[str]) -> list[str]:
    """Return what the columns mean from left to right, as Cordial is told."""
    status = [_STATUS_COLUMN] if strategy is Strategy.INSERT_ONLY else []
    return [_ADDRESS_COLUMN, *status, *lists]


def status_cell(strategy: Strategy) -> str:
    """Return what stands between the address and the lists' cells of each row, its delimiter included."""
    return DELIMITER + _NEVER_SUBSCRIBED if strategy is Strategy.INSERT_ONLY else ""


def file_size_bytes(strategy: Strategy, *, rows: int, addresses_bytes: int, lists: int) -> int:
    """Return how long a file is whose addresses are so long together."""
    return addresses_bytes + rows * (len(status_cell(strategy)) + 2 * lists + 1)


class PartState(StrEnum):
    """Where a part of an import stands.

        ready ──▶ posting ──▶ running ──▶ settling ──▶ gone
          ▲          │           │  ├───▶ ready, for those Cordial does not know
          └──────────┤           │  └───▶ releasing ──▶ gone
                     ▼           ▼
                     └▶ in_doubt ◀┘ ────▶ what running leads to

    `ready`: to be given to Cordial. `posting`: being given, and whether Cordial has it is not known. `running`: Cordial
    has said which job it is. `in_doubt`: Cordial has its file and may still carry it out, but whether and when is not
    known, so nothing else is sent for its contacts (R5). `settling`: its changes took effect. `releasing`: single calls
    are to send them.
    """

    READY = "ready"
    POSTING = "posting"
    RUNNING = "running"
    IN_DOUBT = "in_doubt"
    SETTLING = "settling"
    RELEASING = "releasing"


class DoubtEnd(StrEnum):
    """What a person has seen in Cordial of the job of a part in doubt: it is over, or there is none and never was."""

    OVER = "over"
    NEVER_STARTED = "never_started"


class ImportState(StrEnum):
    """How far an import has come: its changes are being gathered, its parts are being sent, or it is over."""

    GATHERING = "gathering"
    SENDING = "sending"
    ENDED = "ended"


class ImportPart(msgspec.Struct, frozen=True):
    """A range of an import's contacts that travels as one job; `after_contact` lies before it, `last_contact` in it.

    `contacts` are its rows; `joining` those of them who are to be put on some list. `missing` is how many Cordial did
    not update when it was asked to, `refused` how many of these it refused; the others it did not know. `tries` counts the
    jobs that failed. `name_digest` is the digest of the file's name while the file may be fetched or be with Cordial. `doubt`
    says why a part is in doubt; after `doubt_ends_at_ms` Cordial cannot carry it out any more.
    """

    id: int
    import_id: int
    state: PartState
    strategy: Strategy
    after_contact: str
    last_contact: str
    contacts: int
    joining: int
    missing: int = 0
    refused: int = 0
    tries: int = 0
    job_id: str = ""
    fetched_at_ms: int | None = None
    name_digest: bytes | None = None
    doubt: str = ""
    doubt_ends_at_ms: int | None = None

    @property
    def is_in_doubt(self) -> bool:
        """Whether Cordial may still carry it out, and nobody knows when."""
        return self.state is PartState.IN_DOUBT


class OpenImport(msgspec.Struct, frozen=True):
    """An import that is not over. `segment_ids` are its list columns from left to right; `parts` are in order.

    `released` are the contacts that were left to single calls so far. `unnamed_id`: it was opened again to look for
    refused rows in half of that range; its contacts are settled, and calls go on with everything else.
    """

    id: int
    state: ImportState
    segment_ids: list[int]
    contacts: int
    released: int
    unnamed_id: int | None
    parts: list[ImportPart]

    @property
    def is_in_doubt(self) -> bool:
        """Whether nothing is left of it but parts in doubt."""
        return bool(self.parts) and all(part.is_in_doubt for part in self.parts)

    @property
    def is_decided(self) -> bool:
        """Whether what came of each part is known, and only has to be written down."""
        return bool(self.parts) and all(part.state in {PartState.SETTLING, PartState.RELEASING} for part in self.parts)


class Unnamed(msgspec.Struct, frozen=True):
    """A range of an import's contacts of whom `refused` were not put on its lists, and nobody knows which.

    `contacts` are those who travelled in the range. `searched`: the likely ones were called already. `tries`: files that
    were sent to narrow it. `called_to`: all contacts up to this one were called; empty where none were.
    """

    id: int
    import_id: int
    segment_ids: list[int]
    after_contact: str
    last_contact: str
    contacts: int
    refused: int
    searched: bool
    tries: int
    called_to: str


class ImportFile(msgspec.Struct, frozen=True):
    """What a download needs to know of a part: its size, and how to read it."""

    account: str
    part: ImportPart
    segment_ids: list[int]
    size_bytes: int


class Expected(msgspec.Struct, frozen=True):
    """How many contacts a list must hold, at `least` and at `most`, once an import took effect; `list_id` is Cordial's.

    `additions` and `removals`: how many the import puts on it and takes off it.
    """

    segment_id: int
    list_id: str
    least: int
    most: int
    additions: int
    removals: int


class StepResult(msgspec.Struct, frozen=True):
    """What a step of settling or releasing a part did: how many changes, and whether `more` of the part is left."""

    changes: int
    more: bool


class EndedImport(msgspec.Struct, frozen=True):
    """What came of an import: of the contacts gathered, how many took effect, how many were left to calls and why."""

    contacts: int
    settled: int
    released: int
    reason: str


class ListTravel(StrEnum):
    """That a list's changes are kept from single calls: they wait to become a file, or an import is under way."""

    WAITING = "waiting"
    SENDING = "sending"


class Rest(msgspec.Struct, frozen=True):
    """Why an account uses no files, although it is set up for them, and until when; null until something is done."""

    until: datetime | None
    reason: str


class ImportsStatus(msgspec.Struct, frozen=True):
    """What an account's imports are doing: the lists it keeps from single calls, and why it uses no files, if so.

    `waits_for_trial`: files are set up, and not used before a trial has shown that they subscribe nobody (R14).
    """

    lists: dict[int, ListTravel]
    rest: Rest | None
    waits_for_trial: bool = False


class ImportedList(msgspec.Struct, frozen=True):
    """A list that an import changes; `id` is the list's as everywhere."""

    id: int
    segment_name: str
    list_name: str


class ImportPartView(msgspec.Struct, frozen=True):
    """A range of an import's contacts that travels as one job of Cordial's; `job_id` is empty while it names none.

    `tries` counts the jobs that failed. `fetched_at`: when Cordial began to fetch the file; null before. `doubt`: why
    nobody knows whether and when Cordial carries it out, empty unless the state is `in_doubt`; `doubt_ends_at`: when
    Cordial cannot any more.
    """

    id: int
    state: PartState
    strategy: Strategy
    job_id: str
    contacts: Count
    tries: Count
    fetched_at: datetime | None
    doubt: str
    doubt_ends_at: datetime | None


class ImportSort(StrEnum):
    """In which order; by a number, the largest first. `trouble`: those in doubt, then those under way, then the others."""

    LATEST = "latest"
    TROUBLE = "trouble"
    ROWS = "rows"
    DONE = "done"
    SINGLE_CALLS = "single_calls"


class ImportView(msgspec.Struct, frozen=True):
    """Changes of one or several lists that travel to Cordial as files.

    `contacts`: those gathered. `settled`: those of them whose changes took effect, but for `unnamed` of them that Cordial
    refused without saying whom, and that are being looked for; `released`: those left to single calls, `reason` being why. `jobs`: how many Cordial took. `parts`: what is still to come of it, none once it is over.
    """

    id: int
    account: str
    lists: list[ImportedList]
    state: ImportState
    contacts: Count
    jobs: Count
    settled: Count
    released: Count
    reason: str
    unnamed: Count
    started_at: datetime
    ended_at: datetime | None
    parts: list[ImportPartView]

    @property
    def is_in_doubt(self) -> bool:
        """Whether nobody knows what Cordial does with a file of it."""
        return any(part.doubt for part in self.parts)


class Journey(msgspec.Struct, frozen=True):
    """The import in which a contact travels at the moment.

    `carries_change`: the file says of the list in question what is wanted now; otherwise that waits for the import's
    end, because a contact is never written twice at a time. `job_id` is empty while Cordial names none. `is_in_doubt`: nobody
    knows whether Cordial runs the file.
    """

    import_id: int
    job_id: str
    is_in_doubt: bool
    carries_change: bool
    started_at: datetime
