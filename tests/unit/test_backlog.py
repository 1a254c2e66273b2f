import pytest

from service.errors import BacklogFullError
from service.store.sqlite.backlog import Backlog


def test_only_accounts_being_served_count_and_what_the_others_owe_is_there_when_they_come_back():
    backlog = Backlog(1_000)
    backlog.serve({"acme": 0, "shop": 0}, 1_000)
    backlog.add_unfolded("acme", 5)
    backlog.change("acme", 1, pending=30, waiting=2)
    backlog.change("shop", 2, pending=400, waiting=60)
    assert (backlog.pending_total, backlog.waiting_total, backlog.total) == (430, 62, 497)

    backlog.serve({"acme": 0}, 1_000)
    assert (backlog.pending_total, backlog.waiting_total, backlog.total) == (30, 2, 37)
    backlog.change("shop", 2, pending=11, waiting=-10)
    assert backlog.total == 37

    backlog.serve({"acme": 0, "shop": 0}, 1_000)
    assert (backlog.pending_total, backlog.waiting_total, backlog.total) == (441, 52, 498)
    assert backlog.pending_segments("shop") == {2: 411}


def test_an_account_is_refused_above_its_own_bound_or_when_all_is_full_above_its_share():
    backlog = Backlog(100)
    backlog.serve({"acme": 40, "shop": 0, "tiny": 10, "huge": 1_000}, 100)
    backlog.add_unfolded("acme", 39)
    backlog.check_room("acme")
    backlog.change("acme", 1, pending=1, waiting=0)
    with pytest.raises(BacklogFullError, match="acme has 40 unsettled changes, and max_backlog of account acme is 40"):
        backlog.check_room("acme")
    backlog.change("shop", 2, pending=50, waiting=10)
    # All is full: an eighth of it is what each may still have.
    with pytest.raises(
        BacklogFullError, match="max_backlog of the store is 100; of this, shop has used its share of 12"
    ):
        backlog.check_room("shop")
    for account, share in (("tiny", 10), ("huge", 12)):
        backlog.add_unfolded(account, share - 1)
        backlog.check_room(account)
        backlog.add_unfolded(account, 1)
        with pytest.raises(BacklogFullError):
            backlog.check_room(account)
