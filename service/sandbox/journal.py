"""What the stand-in has seen: every call if asked to, the last hundred always, and counts that cost next to nothing."""

from collections import deque

import msgspec

_RECENT_CALLS = 100


class CallRecord(msgspec.Struct, frozen=True, gc=False):
    """One call, start to end in monotonic seconds.

    `contact` is the `key:value` the caller addressed, or empty. `body` is the JSON object sent, or empty. `status` is
    `None` when the connection was cut instead of an answer. `applied`: the call was carried out, whatever the answer.
    """

    method: str
    endpoint: str
    contact: str
    body: dict[str, object]
    status: int | None
    applied: bool
    arrived_at_seconds: float
    finished_at_seconds: float


class Journal:
    """Calls and counts since the start or the last reset; an operation reads `POST /v2/contacts`.

    `in_flight` is how many calls are being served now, and `max_in_flight_per_contact` is the most calls for one contact that were ever being served at the same time.
    """

    def __init__(self, *, keep_all: bool) -> None:
        self._keep_all = keep_all
        self._in_flight: dict[str, int] = {}
        self.in_flight = 0
        self.reset()

    def reset(self) -> None:
        """Start anew; calls still being served are counted when they end."""
        self.calls: list[CallRecord] = []
        self.recent: deque[CallRecord] = deque(maxlen=_RECENT_CALLS)
        self.total = 0
        self.by_status: dict[int | None, int] = {}
        self.by_operation: dict[str, int] = {}
        self.max_in_flight_per_contact = 0

    def enter(self, contact: str) -> None:
        """Note that a call is being served, for `contact` or about nobody (empty)."""
        self.in_flight += 1
        if not contact:
            return
        count = self._in_flight.get(contact, 0) + 1
        self._in_flight[contact] = count
        self.max_in_flight_per_contact = max(self.max_in_flight_per_contact, count)

    def leave(self, contact: str) -> None:
        """Note that a call has been served."""
        self.in_flight -= 1
        if not contact:
            return
        count = self._in_flight[contact] - 1
        if count:
            self._in_flight[contact] = count
        else:
            del self._in_flight[contact]

    def record(self, call: CallRecord) -> None:
        """Note a call that has ended."""
        self.total += 1
        self.by_status[call.status] = self.by_status.get(call.status, 0) + 1
        operation = f"{call.method} {call.endpoint}"
        self.by_operation[operation] = self.by_operation.get(operation, 0) + 1
        self.recent.append(call)
        if self._keep_all:
            self.calls.append(call)
