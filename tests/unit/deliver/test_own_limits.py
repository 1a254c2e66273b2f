"""Whose limit a 429 is (R8)."""

import pytest

from service.deliver.rate.own_limits import OwnLimits

PUT = "PUT contacts"


def refuse(limits: OwnLimits, number: int) -> list[bool]:
    decided: list[bool] = []
    limits.refused(PUT, number, decided.append)
    return decided


@pytest.mark.parametrize(("passes", "is_own"), [(2, False), (3, True)])
def test_it_is_the_contacts_own_if_enough_later_calls_pass(passes, is_own):
    limits = OwnLimits()
    refused = limits.begins(PUT)
    later = [limits.begins(PUT) for _ in range(passes)]
    decided = refuse(limits, refused)
    for number in later:
        assert decided == []
        limits.ended(PUT, number, passed=True)
    assert decided == [is_own]


def test_calls_made_before_it_and_those_of_other_endpoints_tell_nothing():
    limits = OwnLimits()
    earlier = [limits.begins(PUT) for _ in range(5)]
    refused = limits.begins(PUT)
    decided = refuse(limits, refused)
    others = [limits.begins("POST contacts") for _ in range(5)]
    for number in others:
        limits.ended("POST contacts", number, passed=True)
    for number in earlier:
        limits.ended(PUT, number, passed=True)
    assert decided == [False]


def test_it_is_the_accounts_if_another_is_refused_too():
    limits = OwnLimits()
    refused = limits.begins(PUT)
    later = [limits.begins(PUT) for _ in range(9)]
    decided = refuse(limits, refused)
    for number in later[:8]:
        limits.ended(PUT, number, passed=True)
    assert refuse(limits, later[8]) == [False]
    assert decided == [False]


@pytest.mark.parametrize(("passes", "is_own"), [(2, False), (3, True)])
@pytest.mark.parametrize("in_order", [True, False])
def test_those_refused_at_once_are_told_together_by_calls_made_after_all_of_them(passes, is_own, in_order):
    limits = OwnLimits()
    first, between, second = limits.begins(PUT), [limits.begins(PUT) for _ in range(5)], limits.begins(PUT)
    later = [limits.begins(PUT) for _ in range(passes)]
    decided = [refuse(limits, number) for number in ([first, second] if in_order else [second, first])]
    for number in [*later, *between]:
        assert decided == [[], []]
        limits.ended(PUT, number, passed=True)
    assert decided == [[is_own], [is_own]]


def test_one_whose_limit_is_the_accounts_tells_the_others_that_theirs_is():
    limits = OwnLimits()
    refused, other = limits.begins(PUT), limits.begins(PUT)
    later = [limits.begins(PUT) for _ in range(9)]
    decided = refuse(limits, refused)
    limits.refused(PUT, other, None)
    for number in later:
        limits.ended(PUT, number, passed=True)
    assert decided == [False]


def test_with_nothing_on_its_way_it_is_the_accounts_until_others_pass_in_between():
    limits = OwnLimits()
    assert refuse(limits, limits.begins(PUT)) == [False]
    assert not limits.is_known(PUT, "email:a@x.com")
    assert not limits.is_known(PUT, "email:a@x.com")
    limits.ended(PUT, limits.begins(PUT), passed=True)
    assert limits.is_known(PUT, "email:a@x.com")
    assert not limits.is_known(PUT, "email:b@x.com")


def test_only_calls_that_passed_since_the_first_refusal_tell_that_a_limit_is_the_contacts_own():
    limits = OwnLimits()
    for _ in range(2):
        assert not limits.is_known(PUT, "email:a@x.com")
        limits.refused(PUT, limits.begins(PUT), None)
        limits.ended(PUT, limits.begins(PUT), passed=False)
    limits.ended(PUT, limits.begins(PUT), passed=True)
    assert limits.is_known(PUT, "email:a@x.com")
    assert not limits.is_known(PUT, "email:a@x.com")


def test_the_first_call_of_an_endpoint_that_passes_tells_it_too():
    limits = OwnLimits()
    assert not limits.is_known(PUT, "email:a@x.com")
    limits.ended(PUT, limits.begins(PUT), passed=True)
    assert limits.is_known(PUT, "email:a@x.com")


def test_ten_thousand_refused_contacts_are_remembered_and_the_one_before_them_is_not():
    limits = OwnLimits()
    contacts = [f"email:{number}@x.com" for number in range(10_001)]
    for contact in contacts:
        assert not limits.is_known(PUT, contact)
    limits.ended(PUT, limits.begins(PUT), passed=True)
    assert limits.is_known(PUT, contacts[1])
    assert limits.is_known(PUT, contacts[-1])
    assert not limits.is_known(PUT, contacts[0])
