"""What an account's sending is doing. Pure, no I/O."""

import math
from datetime import datetime
from enum import StrEnum

import msgspec

from service.clock import moment_in_words

# The reason of a pause that a person wants.
PAUSED_BY_OPERATOR = "paused by an operator"
# A wait that is worth a time of day.
_LONG_WAIT_SECONDS = 60
# The reason of what the store keeps as a pause while an account is in a dry run.
DRY_RUN_REASON = "dry run: nothing is written to Cordial"


class AccountState(StrEnum):
    """What an account's sending is doing; in a `dry_run` nothing is written to Cordial."""

    SENDING = "sending"
    SLOWED = "slowed"
    PAUSED = "paused"
    DRY_RUN = "dry_run"

    @property
    def recorded(self) -> "AccountState":
        """The state under which the store keeps it: to those who look there, a dry run is a pause with its reason."""
        return AccountState.PAUSED if self is AccountState.DRY_RUN else self

    @classmethod
    def of_record(cls, recorded: str, reason: str) -> "AccountState":
        """Return the state that the store keeps so."""
        return cls.DRY_RUN if reason == DRY_RUN_REASON else cls(recorded)


class Sending(StrEnum):
    """What people and programs are told of an account's sending."""

    SENDING = "sending"
    SLOWED = "slowed"
    PAUSED = "paused"
    PAUSED_BY_OPERATOR = "paused_by_operator"
    DRY_RUN = "dry_run"
    NOT_CONFIGURED = "not_configured"


def sending_of(state: AccountState | None, *, is_paused_by_operator: bool) -> Sending:
    """Return what is told of an account in this state; None: the configuration does not have it."""
    if state is None:
        return Sending.NOT_CONFIGURED
    return Sending.PAUSED_BY_OPERATOR if is_paused_by_operator else Sending(state.value)


class CallsBefore(msgspec.Struct, frozen=True):
    """What whoever called for the account before leaves to the next (R8).

    `waits`: for how many seconds more Cordial's word keeps each (method, endpoint) from being called. `since_seconds`: how
    long ago the last call was made, infinite if there was none. `stopped`: why the account could not be served; empty where
    it could.
    """

    waits: dict[str, float] = {}
    since_seconds: float = math.inf
    stopped: str = ""


class AccountStanding(StrEnum):
    """How an account stands, in one word.

    `stopped`: Cordial does not serve it, or cannot be reached; this ends by itself. `paused`: a person paused it. `dry_run`:
    nothing is written to Cordial. `not_configured`: the configuration does not have it. `store_trouble`: the
    store cannot write, so no page is accepted and what is sent cannot be noted. `slowed`: Cordial asks to wait.
    `sending`: it has changes that may be sent now, or has just sent some. `in_a_file`: a file with them is on its way, and
    Cordial has it or is to get it. `waits_for_a_file`: they are to travel in a file that is not made yet. `waiting`: all its
    changes are tried again later, or are for lists that are not ready. `ready`: it has nothing to send.
    """

    STOPPED = "stopped"
    PAUSED = "paused"
    DRY_RUN = "dry_run"
    NOT_CONFIGURED = "not_configured"
    STORE_TROUBLE = "store_trouble"
    SLOWED = "slowed"
    SENDING = "sending"
    IN_A_FILE = "in_a_file"
    WAITS_FOR_A_FILE = "waits_for_a_file"
    WAITING = "waiting"
    READY = "ready"


def is_long_wait(seconds: float) -> bool:
    """Tell whether a slowed account waits so long that people should know until when."""
    return seconds > _LONG_WAIT_SECONDS


def limit_in_words(reason: str, until: datetime) -> str:
    """Return what a slowed account waits for, and until when Cordial keeps it from some of its calls."""
    return f"{reason}: some calls wait until {moment_in_words(until)}"


class AccountStatus(msgspec.Struct, frozen=True):
    """What an account's sending is doing, why, and for how many seconds more, as far as that is known.

    `hint` says what an operator may do about it, where that is known too. `found_rates`: the calls a second that each
    (method, endpoint) is allowed now, where Cordial's limit is being found.
    """

    state: AccountState
    reason: str = ""
    seconds: float = 0.0
    hint: str = ""
    found_rates: dict[str, float] = {}

    @property
    def is_paused_by_person(self) -> bool:
        """Whether a person paused it; else a `paused` one was stopped, because Cordial does not serve it."""
        return self.state is AccountState.PAUSED and self.reason == PAUSED_BY_OPERATOR

    @property
    def why_paused(self) -> str:
        """Why nothing is sent for a `paused` one, in the words for which of both it is."""
        return "a person paused the account" if self.is_paused_by_person else f"the account is stopped: {self.reason}"
