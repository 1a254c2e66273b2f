"""Notices: what a target was told of conditions, and what is still to be sent to it. Pure, no I/O."""

import msgspec

from service.model.conditions import CATALOGUE, Condition, ConditionKey, Fact, condition_key, to_condition


class Told(msgspec.Struct, frozen=True):
    """A condition that a target was told of, since when it lasts (Unix ms)."""

    kind: str
    account: str
    subject: str
    list_id: int | None
    began_at_ms: int

    @property
    def key(self) -> ConditionKey:
        """What makes it the same condition."""
        return condition_key(self.kind, self.account, self.subject, self.list_id)

    def ended(self, at_ms: int) -> Condition | None:
        """Return the condition as one that is over since then; None where this version does not know the kind."""
        if self.kind not in CATALOGUE:
            return None
        return to_condition(Fact(self.kind, self.account, self.subject, list_id=self.list_id), self.began_at_ms, at_ms)


class WaitingNotice(msgspec.Struct, frozen=True):
    """A message that a target is still to get: JSON of the stage that sends it; times in Unix ms."""

    id: int
    message: bytes
    created_at_ms: int
    tries: int
    next_try_at_ms: int
