import re

import pytest

from service.model.accounts import DRY_RUN_REASON, PAUSED_BY_OPERATOR, AccountState, AccountStatus
from service.observe.api.kept_back import account_kept_back, kept_back

PAUSED = AccountStatus(AccountState.PAUSED, PAUSED_BY_OPERATOR)
MOMENT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (AccountStatus(AccountState.SENDING), ""),
        (AccountStatus(AccountState.SLOWED, "Cordial's rate limit is reached", 2), ""),
        (
            AccountStatus(AccountState.SLOWED, "Cordial's rate limit is reached", 3_600),
            rf"Little is sent for acme now\. Cordial's rate limit is reached: some calls wait until {MOMENT}\.",
        ),
        (PAUSED, r"Nothing is sent for acme until somebody resumes it: `heap-cordial resume acme`\."),
        (
            AccountStatus(AccountState.PAUSED, "unauthorized: Wrong key.", 30),
            (
                r"Nothing is sent for acme until Cordial serves it again \(unauthorized: Wrong key\)\. "
                rf"The service tries again by itself at {MOMENT}\."
            ),
        ),
        (
            AccountStatus(AccountState.DRY_RUN, DRY_RUN_REASON),
            (
                r"Nothing is sent for acme until its dry run ends: set dry_run = false in the configuration, then "
                r"`heap-cordial reload`\."
            ),
        ),
        (None, r"Nothing is sent for acme: the configuration has no such account\."),
    ],
)
def test_it_is_said_what_keeps_an_account_back_and_what_ends_that(status, words):
    assert re.fullmatch(words, account_kept_back("acme", status))


def test_a_store_that_cannot_write_is_why_where_nothing_else_is():
    sending, slowed = AccountStatus(AccountState.SENDING), AccountStatus(AccountState.SLOWED, "busy", 3_600)
    words = "Nothing is sent for acme until the store can write again: disk full."
    assert [account_kept_back("acme", each, "disk full") for each in (sending, slowed)] == [words, words]
    assert account_kept_back("acme", PAUSED, "disk full") == account_kept_back("acme", PAUSED)


def test_only_accounts_that_are_kept_back_are_told_of_by_name():
    told = kept_back(
        {"acme": AccountStatus(AccountState.SENDING), "globex": PAUSED, "other": PAUSED}, ["other", "acme"]
    )
    assert [each.split()[4] for each in told] == ["other"]
