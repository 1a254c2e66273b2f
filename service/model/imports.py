"""What the stages speak of when changes travel as a file: an import, the parts it is sent in, and their files. No I/O."""

from datetime import datetime
from enum import StrEnum

import msgspec

from service.model.views import Count

# Cordial's contract: a cell with the import's `nullMarker` is skipped. One character, as `0` and `1` are: all rows of
# a file are equally long but for the address.
NULL_MARKER = "-"


class Strategy(StrEnum):
    """Which contacts a job may touch; the values are Cordial's.

    Never both kinds in one job (R14): an import sets a subscription unless told otherwise. `updateOnly` creates nobody
    to subscribe; `insertOnly` names a status, and touches nobody who has one already.
    """

    UPDATE_ONLY = "updateOnly"
    INSERT_ONLY = "insertOnly"


class PartState(StrEnum):
    """Where a part of an import stands.

    `ready`: to be given to Cordial. `posting`: being given, and whether Cordial has it is not known. `running`: Cordial
    has said which job it is. `settling`: its changes took effect. `releasing`: they are left to single calls.
    """

    READY = "ready"
    POSTING = "posting"
    RUNNING = "running"
    SETTLING = "settling"
    RELEASING = "releasing"


class ImportPart(msgspec.Struct, frozen=True):
    """A range of an import's contacts that travels as one job; `after_contact` lies before it, `last_contact` in it.

    `contacts` are its rows; `joining` those of them who are to be put on some list. `missing` is how many Cordial did
    not know when it was asked to update them. `tries` counts the jobs that failed.
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
    tries: int = 0
    job_id: str = ""
    fetched_at_ms: int | None = None


class OpenImport(msgspec.Struct, frozen=True):
    """An import that is not over. `segment_ids` are its list columns from left to right; `parts` are in order.

    `released` are the contacts left to single calls so far.
    """

    id: int
    segment_ids: list[int]
    contacts: int
    released: int
    parts: list[ImportPart]


class ImportFile(msgspec.Struct, frozen=True):
    """What a download needs to know of a part: its size, and how to read it."""

    account: str
    part: ImportPart
    segment_ids: list[int]
    size_bytes: int


class Expected(msgspec.Struct, frozen=True):
    """How many contacts a list must hold, at `least` and at `most`, once an import took effect; `list_id` is Cordial's.

    `leaving`: how many the import takes off it.
    """

    segment_id: int
    list_id: str
    least: int
    most: int
    leaving: int


class ListTravel(StrEnum):
    """That a list's changes are kept from single calls: they wait to become a file, or an import is under way."""

    WAITING = "waiting"
    SENDING = "sending"


class Rest(msgspec.Struct, frozen=True):
    """Until when an account tries no import, and why the last one came to nothing."""

    until: datetime
    reason: str


class ImportsStatus(msgspec.Struct, frozen=True):
    """What an account's imports are doing: the lists it keeps from single calls, and whether it rests."""

    lists: dict[int, ListTravel]
    rest: Rest | None


class ImportState(StrEnum):
    """How far an import has come: its changes are being gathered, its parts are being sent, or it is over."""

    GATHERING = "gathering"
    SENDING = "sending"
    ENDED = "ended"


class ImportedList(msgspec.Struct, frozen=True):
    """A list that an import changes; `id` is the list's as everywhere."""

    id: int
    list_name: str


class ImportPartView(msgspec.Struct, frozen=True):
    """A range of an import's contacts that travels as one job of Cordial's; `job_id` is empty while it names none.

    `tries` counts the jobs that failed. `fetched_at`: when Cordial began to fetch the file; null before.
    """

    id: int
    state: PartState
    strategy: Strategy
    job_id: str
    contacts: Count
    tries: Count
    fetched_at: datetime | None


class ImportView(msgspec.Struct, frozen=True):
    """Changes of one or several lists that travel to Cordial as files.

    `contacts`: those gathered. `settled`: those of them whose changes took effect; `released`: those left to single
    calls, `reason` being why. `jobs`: how many Cordial took. `parts`: what is still to come of it, none once it is over.
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
    started_at: datetime
    ended_at: datetime | None
    parts: list[ImportPartView]


class Journey(msgspec.Struct, frozen=True):
    """The import in which a contact travels at the moment.

    `carries_change`: the file says of the list in question what is wanted now; otherwise that waits for the import's
    end, because a contact is never written twice at a time. `job_id` is empty while Cordial names none.
    """

    import_id: int
    job_id: str
    carries_change: bool
    started_at: datetime
