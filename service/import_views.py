"""What people are shown of imports, the changes that travel as files. Pure, no I/O."""

from datetime import datetime
from enum import StrEnum

import msgspec

from service.bulk import PartState, Strategy
from service.views import Count


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
