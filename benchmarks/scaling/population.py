"""Who is in which segment before and after a delta, all derived from numbers: millions of members in no memory. Pure.

A tenth of the accounts carry half of the members. In each account one segment holds nearly all, the others are small;
every second small one is made of users of the large one, so that a contact is on several lists.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

# An odd factor turns numbers into others without a repeat and without an order: ids come at random to the ledger.
_FACTOR = 0x9E37_79B9_7F4A_7C15
_MAX_NUMBERS = 1 << 64
_NUMBERS_PER_ACCOUNT = 1 << 40
_FIRST_OF_OWN_USERS = 1 << 32

_BIG_ACCOUNTS_SHARE = 0.1
_BIG_ACCOUNTS_MEMBERS_SHARE = 0.5
_SMALL_SEGMENTS_MEMBERS_SHARE = 0.02


class Users(Sequence[str]):
    """The user ids of a range of numbers, made when they are asked for."""

    def __init__(self, numbers: range) -> None:
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [_user_id(number) for number in self._numbers[index]]
        return _user_id(self._numbers[index])


class SegmentPlan(NamedTuple):
    """One segment: its account and id, the number of its first user, how many it has, how many a delta changes.

    A delta removes the first users and adds as many behind the last, half of `changed` each.
    """

    account: int
    heap_id: int
    first: int
    members: int
    changed: int

    @property
    def name(self) -> str:
        """The segment's name, and its list's, for it has no spaces."""
        return f"Segment{self.heap_id}"

    @property
    def users(self) -> Users:
        """Who is in it at first."""
        return Users(range(self.first, self.first + self.members))

    @property
    def leaving(self) -> Users:
        """Whom the delta removes."""
        return Users(range(self.first, self.first + self.changed // 2))

    @property
    def joining(self) -> Users:
        """Whom the delta adds."""
        end = self.first + self.members
        return Users(range(end, end + self.changed // 2))

    @property
    def users_after_delta(self) -> Users:
        """Who is in it after the delta."""
        start = self.first + self.changed // 2
        return Users(range(start, start + self.members))


def plan(*, accounts: int, segments: int, members: int, delta_share: float) -> list[SegmentPlan]:
    """Divide members among segments and accounts, all accounts with as many segments.

    Raises `ValueError` when segments cannot be divided so, or there are too few members for two in each.
    """
    if accounts < 1 or segments % accounts:
        raise ValueError("each account must have as many segments: --segments must be a multiple of --accounts")
    plans = [
        segment
        for account, account_members in enumerate(_members_of_accounts(accounts, members))
        for segment in _account(account, segments // accounts, account_members, delta_share)
    ]
    if min(segment.members for segment in plans) < 2:
        raise ValueError("too few members: some segments would have fewer than two")
    return plans


def _members_of_accounts(accounts: int, members: int) -> Iterator[int]:
    """Yield how many each account has, the big ones first; the first one takes what does not divide evenly."""
    big = max(1, round(accounts * _BIG_ACCOUNTS_SHARE))
    of_small = 0 if big == accounts else int(members * (1 - _BIG_ACCOUNTS_MEMBERS_SHARE) / (accounts - big))
    of_big, rest = divmod(members - of_small * (accounts - big), big)
    yield of_big + rest
    yield from [of_big] * (big - 1)
    yield from [of_small] * (accounts - big)


def _account(account: int, segments: int, members: int, delta_share: float) -> Iterator[SegmentPlan]:
    start = account * _NUMBERS_PER_ACCOUNT
    small = round(members * _SMALL_SEGMENTS_MEMBERS_SHARE / (segments - 1)) if segments > 1 else 0
    large = members - small * (segments - 1)
    yield SegmentPlan(account, account * segments + 1, start, large, _changed(large, delta_share))
    for number in range(1, segments):
        # Further apart than they are long, so that what one gains by a delta is not in the next one yet.
        offset = 2 * number * small + (_FIRST_OF_OWN_USERS if number % 2 else 0)
        yield SegmentPlan(account, account * segments + 1 + number, start + offset, small, _changed(small, delta_share))


def _changed(members: int, share: float) -> int:
    return 2 * max(1, round(members * share / 2))


def _user_id(number: int) -> str:
    return f"{number * _FACTOR % _MAX_NUMBERS:016x}@example.com"
