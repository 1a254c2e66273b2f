from service.store.sqlite.backlog import Backlog


def test_only_accounts_being_served_count_and_what_the_others_owe_is_there_when_they_come_back():
    backlog = Backlog()
    backlog.serve(["acme", "shop"])
    backlog.unfolded_users = 5
    backlog.change("acme", 1, pending=30, waiting=2)
    backlog.change("shop", 2, pending=400, waiting=60)
    assert (backlog.pending_total, backlog.waiting_total, backlog.total) == (430, 62, 497)

    backlog.serve(["acme"])
    assert (backlog.pending_total, backlog.waiting_total, backlog.total) == (30, 2, 37)
    backlog.change("shop", 2, pending=11, waiting=-10)
    assert backlog.total == 37

    backlog.serve(["acme", "shop"])
    assert (backlog.pending_total, backlog.waiting_total, backlog.total) == (441, 52, 498)
    assert backlog.pending_segments("shop") == {2: 411}
