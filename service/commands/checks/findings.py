"""What a check found."""

import msgspec


class Findings(msgspec.Struct):
    """One line each: `faults` keep the service from doing its work, `warnings` do not, `notes` are for information."""

    faults: list[str] = []
    warnings: list[str] = []
    notes: list[str] = []

    def add(self, others: "Findings") -> None:
        """Take up what another check found."""
        self.faults += others.faults
        self.warnings += others.warnings
        self.notes += others.notes
