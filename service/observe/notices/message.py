"""What a notice says. Pure, no I/O."""

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from service.clock import moment_in_words
from service.model.conditions import CATALOGUE, Condition, Severity, grouped, in_two

# More than that nobody reads; the dashboard has all.
_MAX_SHOWN = 20
_MAX_DETAIL = 300


class Message(msgspec.Struct, frozen=True):
    """One notice: conditions that began, and that are over. In a `summary`, `begun` has all that last.

    `dashboard`: the address of the dashboard, empty where none is configured.
    """

    type: Literal["conditions", "summary", "test"]
    at: datetime
    begun: list[Condition]
    ended: list[Condition]
    dashboard: str = ""

    @property
    def subject(self) -> str:
        """One line that says the most important thing."""
        if self.type == "test":
            return "heap-cordial: a test of notices"
        if self.type == "summary":
            number = self._to_see_to
            return f"heap-cordial: {_things(number)} {'need' if number > 1 else 'needs'} attention"
        shown = grouped(self.begun or self.ended)
        more = f" and {len(shown) - 1:,} more" if len(shown) > 1 else ""
        over = "" if self.begun else "over: "
        return f"heap-cordial: {over}{shown[0].title}{more}"

    @property
    def text(self) -> str:
        """The whole message for people, in plain text."""
        if self.type == "test":
            parts = ["This is a test. If you can read it, notices reach you."]
        else:
            begun, ended = grouped(self.begun), grouped(self.ended)
            parts = ["Nothing needs attention."] if self.type == "summary" and not self._to_see_to else []
            parts += [_lasting(each, self.dashboard) for each in begun[:_MAX_SHOWN]]
            parts += [_over(each) for each in ended[:_MAX_SHOWN]]
            left = max(0, len(begun) - _MAX_SHOWN) + max(0, len(ended) - _MAX_SHOWN)
            if left:
                parts.append(f"And {left:,} more.")
        if self.dashboard:
            parts.append(f"Dashboard: {self.dashboard}")
        return "\n\n".join(parts)

    @property
    def _to_see_to(self) -> int:
        """How many conditions are for more than information, as the dashboard counts them."""
        return sum(each.severity is not Severity.INFO for each in self.begun)


def _lasting(condition: Condition, dashboard: str) -> str:
    _, more = in_two(condition.meaning)
    lines = [f"{condition.severity.value.upper()}: {condition.title}", *([more] if more else [])]
    if condition.detail:
        lines.append(f"Detail: {condition.detail[:_MAX_DETAIL]}")
    people = f", people concerned: {condition.people:,}" if condition.people else ""
    lines.append(f"Since {moment_in_words(condition.since)}{people}.")
    lines.append(f"What to do: {condition.what_to_do}{f' {condition.command}' if condition.command else ''}")
    # The dashboard shows the part of the runbook too.
    lines.append(f"More about it: {f'{dashboard}{condition.place}' if dashboard else condition.runbook}")
    return "\n".join(lines)


def _over(condition: Condition) -> str:
    ended_at = condition.ended_at or condition.since
    lines = [f"OVER: {condition.title}"]
    lines.append(f"It lasted from {moment_in_words(condition.since)} to {moment_in_words(ended_at)}.")
    # A message may have waited while the service was updated.
    kind = CATALOGUE.get(condition.id)
    if kind and kind.longest_days and ended_at - condition.since > timedelta(days=kind.longest_days) / 2:
        lines.append(f"It may not be mended: it is reported for about {kind.longest_days} days.")
    return "\n".join(lines)


def _things(number: int) -> str:
    return "nothing" if not number else "1 thing" if number == 1 else f"{number:,} things"
