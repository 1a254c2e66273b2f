"""What keeps an account or a list from sending: the one text of every answer, command and page that tells it."""

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta

from service.clock import moment_in_words
from service.model.accounts import AccountState, AccountStatus, is_long_wait, limit_in_words
from service.model.lists import ListState
from service.model.views import SegmentView


def kept_back(
    statuses: Mapping[str, AccountStatus],
    accounts: Iterable[str],
    lists: Collection[SegmentView] = (),
    *,
    store_fault: str | None = None,
) -> list[str]:
    """Return a sentence or two for each of these accounts and lists of which nothing is sent now, or not soon.

    `store_fault`: why the store cannot write. What was written just now shows that it can.
    """
    told = [account_kept_back(name, statuses.get(name), store_fault) for name in sorted(accounts)]
    told += [
        f"Nothing is sent for the list {each.list_name or each.segment_name}, which is held: {each.reason.rstrip('.')}."
        for each in lists
        if each.state is ListState.HELD
    ]
    return [each for each in told if each]


def account_kept_back(name: str, status: AccountStatus | None, store_fault: str | None = None) -> str:
    """Return what keeps an account from sending, and what ends that; empty where nothing does. None: it is not configured."""
    if status is None:
        return f"Nothing is sent for {name}: the configuration has no such account."
    if status.is_paused_by_person:
        return f"Nothing is sent for {name} until somebody resumes it: `heap-cordial resume {name}`."
    at = datetime.now(UTC) + timedelta(seconds=status.seconds)
    told = ""
    match status.state:
        case AccountState.PAUSED:
            when = f" at {moment_in_words(at)}" if status.seconds >= 1 else ""
            told = (
                f"Nothing is sent for {name} until Cordial serves it again ({status.reason.rstrip('.')}). "
                f"The service tries again by itself{when}."
            )
        case AccountState.DRY_RUN:
            told = (
                f"Nothing is sent for {name} until its dry run ends: "
                "set dry_run = false in the configuration, then `heap-cordial reload`."
            )
        case _ if store_fault is not None:
            told = f"Nothing is sent for {name} until the store can write again: {store_fault.rstrip('.')}."
        case AccountState.SLOWED if is_long_wait(status.seconds):
            told = f"Little is sent for {name} now. {limit_in_words(status.reason, at)}."
    return told
