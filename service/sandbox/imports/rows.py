"""What one row of an import does to its contact."""

from collections.abc import Sequence
from enum import StrEnum

from service.model.contacts import EMAIL
from service.sandbox.deviations import Deviation
from service.sandbox.imports.cells import RowRejectedError, RowValues, read_row
from service.sandbox.imports.columns import Columns
from service.sandbox.imports.options import ImportOptions
from service.sandbox.imports.request import ImportRequest
from service.sandbox.state import AccountList, Contact, SandboxState


class RowOutcome(StrEnum):
    """How a row is counted, by the names of Cordial's contract; `error` is a clash over a unique value."""

    UPDATED = "updated"
    INSERTED = "inserted"
    REJECTED = "rejected"
    ERROR = "error"
    IGNORED = "ignored"


class RowWriter:
    """Carries out rows whose cells mean `columns`.

    Every contact touched is also put on or off the lists in `for_all`.
    """

    def __init__(
        self,
        state: SandboxState,
        request: ImportRequest,
        options: ImportOptions,
        columns: Columns,
        for_all: Sequence[tuple[AccountList, bool]],
    ) -> None:
        self._state = state
        self._request = request
        self._options = options
        self._columns = columns
        self._for_all = for_all

    def write(self, row: Sequence[str], joined_at: int) -> RowOutcome:
        """Carry out one row, as a whole or not at all; `joined_at` is the Unix time in seconds."""
        try:
            values = read_row(self._columns, row, self._request.null_marker)
        except RowRejectedError:
            return RowOutcome.REJECTED
        contact = self._find(values)
        if self._request.strategy == ("updateOnly" if contact is None else "insertOnly"):
            return RowOutcome.IGNORED
        if self._clashes(values, contact):
            return RowOutcome.ERROR
        if contact is not None:
            self._apply(values, contact, joined_at, created=False)
            return RowOutcome.UPDATED
        if values.address is None:
            return RowOutcome.REJECTED
        contact = self._state.create_contact(f"{EMAIL}:{values.address}", values.address)
        self._apply(values, contact, joined_at, created=True)
        return RowOutcome.INSERTED

    def _find(self, values: RowValues) -> Contact | None:
        if values.address is not None:
            return self._state.find(EMAIL, values.address)
        return None if values.key is None else self._state.find(*values.key)

    def _clashes(self, values: RowValues, contact: Contact | None) -> bool:
        return any(
            value is not None and self._state.find(key, value) not in (None, contact)
            for key, value in values.identifiers
        )

    def _apply(self, values: RowValues, contact: Contact, joined_at: int, *, created: bool) -> None:
        self._subscribe(contact, values.subscribe_status, created=created)
        for account_list, wanted in (*values.memberships, *self._for_all):
            if wanted:
                account_list.members.setdefault(contact.cid, joined_at)
            else:
                account_list.members.pop(contact.cid, None)
        for key, value in values.identifiers:
            self._state.set_identifier(contact, key, value)
        if values.attributes:
            contact.attributes = (contact.attributes or {}) | dict(values.attributes)

    def _subscribe(self, contact: Contact, status: str | None, *, created: bool) -> None:
        """Set the status; Cordial's imports subscribe whom they are told nothing about, unless they unsubscribed."""
        if status is None and (created or (self._options.subscribes_existing and contact.subscribe_status == "none")):
            status = "subscribed"
        if created and Deviation.SUBSCRIBES_IMPORTED in self._state.deviations:
            status = "subscribed"
        if status is not None and contact.subscribe_status != "unsubscribed":
            self._state.set_subscribe_status(contact, status)
