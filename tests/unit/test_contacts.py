import string
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config.settings import AccountSettings, SecretReference
from service.model.contacts import EMAIL, by_spelling, canonical, contact_of, number_text
from service.observe.api.members import possible_contacts
from service.receive.delivery import read_user_ids

ASCII_WHITE_SPACE = " \t\n\r\v\f"

# Whose lower case, in Unicode's eyes, is an ASCII letter or nothing that can be told from one.
LOOKALIKES = "\u212a\u017f\u0130\u0131\u212b\uff21\u2003\u00a0\u2028\u0085\x1c"

user_ids = st.text(st.sampled_from(string.ascii_letters + "@.+" + ASCII_WHITE_SPACE + LOOKALIKES) | st.characters())


def folded_byte_by_byte(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass").strip(ASCII_WHITE_SPACE.encode()).lower()


@given(user_ids)
def test_an_address_is_folded_in_its_ascii_bytes_alone(user_id: str):
    assert canonical(user_id, EMAIL).encode("utf-8", "surrogatepass") == folded_byte_by_byte(user_id)


@given(user_ids, st.sampled_from([EMAIL, "customerId"]))
def test_what_is_canonical_stays_as_it_is(user_id: str, key: str):
    once = canonical(user_id, key)
    assert canonical(once, key) == once


@given(user_ids)
def test_the_value_of_a_secondary_key_is_kept_as_sent(user_id: str):
    assert canonical(user_id, "customerId") == user_id


@pytest.mark.parametrize(
    ("stranger", "user"),
    [
        ("\u212aim@example.com", "kim@example.com"),
        ("kim@\u212aids.example", "kim@kids.example"),
        ("\u017fam@example.com", "sam@example.com"),
        ("\u0130an@example.com", "ian@example.com"),
        ("\u00a0kim@example.com", "kim@example.com"),
        ("kim@example.com\u2003", "kim@example.com"),
    ],
)
def test_a_lookalike_is_another_person(stranger: str, user: str):
    assert canonical(stranger, EMAIL) != canonical(user, EMAIL)


@given(st.lists(user_ids), st.sampled_from([EMAIL, "customerId"]))
def test_pages_and_questions_name_a_contact_alike(values: list[str], key: str):
    account = AccountSettings(
        name="acme",
        heap_secrets=(),
        cordial_api_key=SecretReference(environment="UNUSED"),
        identify_by=key,
    )
    read = read_user_ids(values, key, "$")
    asked = {contact for value in values for contact in possible_contacts(account, value)}
    assert {contact_of(user_id, key) for user_id in read.usable} <= asked


@given(st.lists(user_ids), st.sampled_from([EMAIL, "customerId"]))
def test_user_ids_are_parted_by_whether_they_are_written_as_their_contact_is(values: list[str], key: str):
    plain, spelled = by_spelling(values, key)
    assert [value for value in values if canonical(value, key) == value] == list(plain)
    assert [(canonical(value, key), value) for value in values if canonical(value, key) != value] == spelled


@pytest.mark.parametrize("other", ["Jane@x.com", " jane@x.com", "jane@x.com\f", "\tJane@x.com"])
def test_one_user_id_that_is_written_otherwise_is_found_among_plain_ones(other: str):
    plain = ["john@x.com", "j\u00fcrg@x.com"]
    for others in (plain[:1], plain):
        assert by_spelling([*others, other], EMAIL) == (others, [("jane@x.com", other)])
        assert by_spelling([*others, other], "customerId") == ([*others, other], [])


@given(st.integers() | st.decimals(allow_nan=False, allow_infinity=False, places=3))
def test_a_number_is_the_contact_that_its_text_is(number: int | Decimal):
    text = number_text(number)
    assert text is not None
    assert (
        read_user_ids([number], "customerId", "$").usable == read_user_ids([text], "customerId", "$").usable == [text]
    )
    assert contact_of(text, "customerId") == f"customerId:{text}"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (Decimal("1" * 1_000), "1" * 1_000),
        (Decimal("1" * 1_001), None),
        (Decimal("0." + "1" * 1_000), "0." + "1" * 1_000),
        (Decimal("0." + "1" * 1_001), None),
        (Decimal("1e1000"), "1" + "0" * 1_000),
        (Decimal("1e1001"), None),
        (Decimal("1e-1000"), "0." + "0" * 999 + "1"),
        (Decimal("1e-1001"), None),
    ],
)
def test_a_number_takes_a_thousand_digits_at_most(number: Decimal, text: str | None):
    assert number_text(number) == text
