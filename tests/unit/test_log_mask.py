import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.log import mask


@pytest.mark.parametrize(
    ("user_id", "masked"),
    [
        ("jane@example.com", "j***@e***.com"),
        ("jane.doe+tag@mail.example.co.uk", "j***@m***.uk"),
        ("jo@ex.com", "***@***.com"),
        ("jane@localhost", "j***@l***"),
        ("a@b@example.com", "a***@e***.com"),
        ("@example.com", "***@e***.com"),
        ("jane@", "j***@***"),
        ("CUST-0042", "C***2"),
        ("+4915112345678", "***8"),
        ("C-42", "***"),
        ("", "***"),
        ("\nabc\n", "***"),
        ("jane@example.<b>", "j***@e***"),
    ],
)
def test_mask(user_id, masked):
    assert mask(user_id) == masked


@given(st.text(max_size=300))
def test_a_mask_keeps_at_most_two_characters_and_a_top_level_domain(user_id):
    masked = mask(user_id)
    assert "***" in masked
    assert masked.isprintable()
    kept = masked.replace("***", "").replace("@", "")
    public = user_id.rpartition("@")[2].rpartition(".")[2] if "@" in user_id else ""
    assert len(kept.removesuffix(f".{public}")) <= 2


@given(st.text(min_size=5, max_size=40), st.text(min_size=5, max_size=40))
def test_a_mask_does_not_tell_ids_apart_that_share_their_ends(one, other):
    assert mask(f"A{one}Z".replace("@", "")) == mask(f"A{other}Z".replace("@", ""))
