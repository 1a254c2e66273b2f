"""A trial of a Cordial account: the points that Cordial's documents leave open, and what trying each one showed. No I/O."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec


class TrialPoint(StrEnum):
    """What a trial tries, in the order in which it is shown."""

    PERMISSIONS = "permissions"
    CALL_CREATES = "call_creates"
    FILE_UPDATES = "file_updates"
    FILE_CREATES = "file_creates"
    JOB_WAIT = "job_wait"
    UNKNOWN_CONTACT = "unknown_contact"
    UNKNOWN_LIST = "unknown_list"
    ODD_CHARACTERS = "odd_characters"
    TWO_LISTS = "two_lists"
    READ_AFTER_WRITE = "read_after_write"
    RENAMED_LIST = "renamed_list"
    LIST_NAME_UNDERSCORE = "list_name_underscore"
    LIST_NAME_LENGTH = "list_name_length"
    LIMITS_TOLD = "limits_told"


class TrialOutcome(StrEnum):
    """What trying a point showed; `not_tried` where it could not be tried, and then nothing is known."""

    AS_DOCUMENTED = "as_documented"
    OTHERWISE = "otherwise"
    NOT_TRIED = "not_tried"


class TrialResult(msgspec.Struct, frozen=True):
    """What trying a point showed: `detail` in words, without anybody's address."""

    point: TrialPoint
    outcome: TrialOutcome
    detail: str
    at: datetime


class PointText(NamedTuple):
    """What Cordial's documents lead us to expect at a point, and what to do where Cordial does otherwise.

    `is_harmless`: nothing is wrong then.
    """

    documented: str
    what_to_do: str
    is_harmless: bool = False


_SEND_US = "Send us the lines below."

POINT_TEXTS: Mapping[TrialPoint, PointText] = {
    TrialPoint.PERMISSIONS: PointText(
        "The key may use every endpoint that the service uses.",
        "Give the key the permissions named here, in Cordial under Administration > API keys, then try again.",
    ),
    TrialPoint.CALL_CREATES: PointText(
        "A contact that a call creates is subscribed to nothing.",
        f"Set create_contacts = false. {_SEND_US}",
    ),
    TrialPoint.FILE_UPDATES: PointText(
        "A file with updateOnly sets memberships, creates nobody and changes no subscription.",
        f"The service uses no files. Do not set bulk_untested. {_SEND_US}",
    ),
    TrialPoint.FILE_CREATES: PointText(
        'A file with insertOnly and the status "none" creates contacts that are subscribed to nothing, and changes no others.',
        f"The service uses no files; with create_contacts = false it needs no such file. {_SEND_US}",
    ),
    TrialPoint.JOB_WAIT: PointText(
        "A job begins and ends within minutes.",
        "Check that Cordial reaches public_url. If it does, and its jobs wait long, raise bulk_threshold.",
    ),
    TrialPoint.UNKNOWN_CONTACT: PointText(
        "Cordial refuses an update of an unknown contact with its own error key, and creates nobody.",
        f"Removals of unknown contacts may end as failures, or create contacts. {_SEND_US}",
    ),
    TrialPoint.UNKNOWN_LIST: PointText(
        "Cordial refuses a write with an unknown list, and says which.",
        f"Do not rename or delete the service's lists in Cordial. {_SEND_US}",
    ),
    TrialPoint.ODD_CHARACTERS: PointText(
        "Contacts whose address has +, / or upper case are found.",
        f"People with such addresses may end as failures; look at `heap-cordial failures`. {_SEND_US}",
    ),
    TrialPoint.TWO_LISTS: PointText(
        "One call sets the memberships of two lists.",
        f"Do not go live with more than one segment. {_SEND_US}",
    ),
    TrialPoint.READ_AFTER_WRITE: PointText(
        "A read shows a write within seconds.",
        "Counts and members read back may differ for a while after a sync; verify again later.",
    ),
    TrialPoint.RENAMED_LIST: PointText(
        "A renamed list keeps its members, and Cordial accepts only its new name.",
        f'Keep on_segment_rename = "keep", and do not rename the service\'s lists in Cordial. {_SEND_US}',
    ),
    TrialPoint.LIST_NAME_UNDERSCORE: PointText(
        "A list's name may contain underscores.",
        "If a segment has underscores in its name, give its list a name without them in list_names.",
    ),
    TrialPoint.LIST_NAME_LENGTH: PointText(
        "A list's name may have 128 characters.",
        "If a segment has a very long name, give its list a shorter one in list_names.",
    ),
    TrialPoint.LIMITS_TOLD: PointText(
        "Answers say how many calls are left.",
        "Nothing is wrong: Cordial shows its limit only when it is reached. Set requests_per_second to what Cordial allows you.",
        is_harmless=True,
    ),
}


class TrialState(StrEnum):
    """How far a trial has come; `stopped`: it ended before all was tried."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"


class TrialProgress(msgspec.Struct, frozen=True):
    """A trial of this run of the service.

    `trying`: the point being tried. `problem`: why it stopped. `lists_left`, `contacts_left`: what it made in Cordial and
    does not remove, by name and address; the contacts are off the lists unless `problem` says otherwise.
    """

    state: TrialState
    trying: TrialPoint | None
    problem: str
    lists_left: list[str]
    contacts_left: list[str]


def may_use_files(results: Mapping[TrialPoint, TrialResult], *, creates_contacts: bool, untested: bool) -> bool:
    """Tell whether files may be used (R14): a trial has shown that they subscribe nobody. `untested`: also without a trial.

    Contacts are created by a file of its own. What a trial has shown to be otherwise keeps files off, whatever is allowed.
    """
    needed = {TrialPoint.FILE_UPDATES, *({TrialPoint.FILE_CREATES} if creates_contacts else ())}
    shown = {results[point].outcome if point in results else TrialOutcome.NOT_TRIED for point in needed}
    return TrialOutcome.OTHERWISE not in shown and (untested or shown == {TrialOutcome.AS_DOCUMENTED})
