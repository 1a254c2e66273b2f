"""What can go wrong with an import, beyond what can go wrong with any call: scripted for tests."""

from typing import Literal

import msgspec


class ImportFault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fault and the imports it meets: the next `times` that are created, null for all of them.

    `refused`: the call is answered 201 with an error in place of the job's id, as if the server could not be reached.
    `throttled_seconds`: how long the job is Throttled. `held_seconds`: how long it stands still once it has fetched its
    file, before it carries anything out. `ends`: `failed` or `never` once `after_share` of the rows (0 to
    1) is carried out, instead of `done`. Shares of the rows, drawn at random: `reject_share` is counted as rejected,
    `lose_share` has no effect although counted as updated.
    """

    times: int | None = 1
    refused: bool = False
    throttled_seconds: float = 0
    held_seconds: float = 0
    ends: Literal["done", "failed", "never"] = "done"
    after_share: float = 0
    reject_share: float = 0
    lose_share: float = 0


NO_FAULT = ImportFault()


class ImportFaults:
    """The script: each new import meets the first fault that is not used up."""

    def __init__(self) -> None:
        self._script: list[ImportFault] = []

    @property
    def script(self) -> list[ImportFault]:
        """The faults that still wait for an import, `times` counted down."""
        return list(self._script)

    def add(self, *faults: ImportFault) -> None:
        """Put faults at the end of the script."""
        self._script.extend(fault for fault in faults if fault.times != 0)

    def clear(self) -> None:
        """Drop the script; imports under way keep the faults they met."""
        self._script.clear()

    def take(self) -> ImportFault:
        """Return the fault of a new import, and count it as met."""
        if not self._script:
            return NO_FAULT
        fault = self._script[0]
        if fault.times == 1:
            del self._script[0]
        elif fault.times is not None:
            self._script[0] = msgspec.structs.replace(fault, times=fault.times - 1)
        return fault
