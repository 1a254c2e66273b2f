"""A trial of a Cordial account: the points that Cordial's documents leave open, and what trying each one showed. No I/O."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

import msgspec


class TrialPoint(StrEnum):
    """What a trial tries. `docs/trial.md` says how, and what to do where Cordial behaves otherwise than documented."""

    PERMISSIONS = "permissions"
    UNKNOWN_CONTACT = "unknown_contact"
    UNKNOWN_LIST = "unknown_list"
    ODD_CHARACTERS = "odd_characters"
    TWO_LISTS = "two_lists"
    LIMITS_TOLD = "limits_told"
    LIST_NAME_UNDERSCORE = "list_name_underscore"
    LIST_NAME_LENGTH = "list_name_length"
    READ_AFTER_WRITE = "read_after_write"
    RENAMED_LIST = "renamed_list"
    FILE_UPDATES = "file_updates"
    FILE_CREATES = "file_creates"
    JOB_WAIT = "job_wait"


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


def proves_files(results: Mapping[TrialPoint, TrialResult], *, creates_contacts: bool) -> bool:
    """Tell whether a trial has shown that files subscribe nobody (R14); contacts are created by a second file."""
    needed = {TrialPoint.FILE_UPDATES, *({TrialPoint.FILE_CREATES} if creates_contacts else ())}
    return all(point in results and results[point].outcome is TrialOutcome.AS_DOCUMENTED for point in needed)
