"""Which contacts of a file are likely to have been refused: those that look unlike the others. Pure, no I/O."""

import heapq
from collections import Counter
from collections.abc import Iterable

# Mailboxes of a role and not of a person, which senders of e-mail commonly refuse.
_ROLES = frozenset(
    {
        "abuse", "admin", "administrator", "all", "billing", "contact", "help", "hello", "hostmaster", "info", "it", "jobs",
        "mail", "mailer-daemon", "marketing", "noc", "no-reply", "noreply", "office", "postmaster", "privacy", "root",
        "sales", "security", "service", "spam", "support", "team", "webmaster",
    }
)  # fmt: skip
_MADE_UP = frozenset(
    {"a", "aa", "aaa", "abc", "asd", "asdf", "demo", "example", "fake", "foo", "na", "none", "null", "qwerty", "test", "tester",
     "testing", "undefined", "unknown", "user", "x", "xx", "xxx"}
)  # fmt: skip
_RESERVED = (".test", ".invalid", ".local", ".localhost", ".example", ".lan", ".internal")
_MISTYPED = frozenset(
    {"gmial.com", "gmai.com", "gmal.com", "gmail.co", "gmail.con", "gnail.com", "hotmial.com", "hotmal.com", "hotmail.con",
     "hotmail.co", "yaho.com", "yahoo.con", "yahoo.co", "outlok.com", "outlook.con", "iclod.com", "icloud.con"}
)  # fmt: skip
_MISTYPED_ENDS = (".con", ".cmo", ".ocm", ".coom", ".comm", ".nte", ".vom", ".xom", ".cim")
_LONG_LOCAL, _LONGEST_LOCAL, _LONG_DOMAIN_LABEL = 40, 64, 63
_MAX_DOMAINS = 50_000
# A domain of so few among so many contacts is odd.
_RARE_SHARE = 10_000


class Suspects:
    """Keeps the likeliest of all addresses that it is shown, at most so many."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._domains: Counter[str] = Counter()
        self._shown = 0
        self._worst: list[tuple[int, str]] = []

    def learn(self, addresses: Iterable[str]) -> None:
        """Count domains, all addresses once before the first is judged."""
        for address in addresses:
            self._shown += 1
            domain = address.rpartition("@")[2]
            if domain in self._domains or len(self._domains) < _MAX_DOMAINS:
                self._domains[domain] += 1

    def show(self, addresses: Iterable[str]) -> None:
        """Judge addresses, and keep those that look the worst."""
        for address in addresses:
            if score := self._score(address):
                entry = (score, address)
                if len(self._worst) < self._limit:
                    heapq.heappush(self._worst, entry)
                elif entry > self._worst[0]:
                    heapq.heapreplace(self._worst, entry)

    @property
    def found(self) -> list[str]:
        """The addresses kept, the likeliest first."""
        return [address for _, address in sorted(self._worst, reverse=True)]

    def _score(self, address: str) -> int:
        domain = address.rpartition("@")[2]
        is_rare = self._domains[domain] * _RARE_SHARE <= self._shown
        return oddity(address) + is_rare


def oddity(address: str) -> int:
    """Return how odd an address looks by itself, 0 for not at all."""
    local, _, domain = address.rpartition("@")
    plain = local.partition("+")[0]
    score = 0
    score += 4 * (domain in _MISTYPED or domain.endswith(_MISTYPED_ENDS))
    score += 4 * domain.endswith(_RESERVED)
    score += 3 * (plain in _ROLES)
    score += 3 * (plain in _MADE_UP or domain.partition(".")[0] in _MADE_UP - {"example"})
    score += 3 * (len(local) > _LONGEST_LOCAL or any(len(label) > _LONG_DOMAIN_LABEL for label in domain.split(".")))
    score += 1 * (len(local) > _LONG_LOCAL)
    score += 2 * any(label.startswith("-") or label.endswith("-") for label in domain.split("."))
    score += 2 * (local.startswith((".", "_", "-")) or "__" in local or "--" in domain.replace("xn--", ""))
    score += 1 * (plain.isdigit() and domain.partition(".")[0].isdigit())
    return score
