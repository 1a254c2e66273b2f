"""The rule by which a segment's list gets its name (R10), and that Cordial allows whatever comes of it."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service.config.settings import RESERVED_LIST_NAMES
from service.deliver.lists.names import beside_attribute, beside_other_segment, is_reserved, list_name, names_in_turn

# Cordial's contract: letters, numbers and dashes, at most 128; its own examples use underscores too.
ALLOWED = re.compile(r"[A-Za-z0-9_-]{1,128}")

anything = st.text(max_size=300) | st.text("aBcÄöß -_·日\t\n", max_size=200)
prefixes = st.from_regex(re.compile(r"[A-Za-z0-9_-]{0,64}", re.ASCII), fullmatch=True)
heap_ids = st.from_regex(re.compile(r"[0-9]{1,20}", re.ASCII), fullmatch=True) | st.text(min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        ("Heap Test Segment", "HeapTestSegment"),
        ("Active Users", "ActiveUsers"),
        ("active users", "activeusers"),
        ("  tabs\tand\nlines\u00a0too ", "tabsandlinestoo"),
        ("already-fine_2", "already-fine_2"),
        ("S" * 128, "S" * 128),
    ],
)
def test_a_name_that_cordial_allows_loses_its_white_space_and_nothing_else(segment, expected):
    assert list_name(segment, "1") == list_name(segment, "2")
    assert (list_name(segment, "1").name, list_name(segment, "1").note) == (expected, "")


@pytest.mark.parametrize(
    ("segment", "readable"),
    [
        ("Müller & Söhne", "Muller-Sohne"),
        ("50% off!", "50-off"),
        ("a/b", "a-b"),
        ("Über™ users", "UberTMusers"),
    ],
)
def test_what_cordial_does_not_allow_is_mapped_readably_and_marked(segment, readable):
    found = list_name(segment, "1")
    assert re.fullmatch(re.escape(readable) + r"-[0-9a-f]{8}", found.name)
    assert "were replaced" in found.note


@pytest.mark.parametrize("segment", ["", "   ", "日本語", "!!!", "---", "__", "😀"])
def test_a_name_of_which_nothing_is_left_becomes_the_segments_id(segment):
    assert list_name(segment, "15225086").name == "segment-15225086"
    assert list_name(segment, "15225086", prefix="heap-").name == "heap-segment-15225086"
    assert "nothing" in list_name(segment, "1").note


@pytest.mark.parametrize("reserved", sorted(RESERVED_LIST_NAMES))
def test_a_reserved_word_is_never_a_lists_name(reserved):
    for segment in (reserved, reserved.upper(), reserved.title()):
        found = list_name(segment, "1")
        assert not is_reserved(found.name)
        assert "reserved" in found.note
        assert found.name == f"{segment}-list"
    assert list_name(reserved, "1", prefix="heap-").name == f"heap-{reserved}"


def test_the_operators_own_name_is_used_as_it_is():
    assert list_name("Active Users", "1", prefix="heap-", chosen="VIPs").name == "VIPs"


def test_the_prefix_goes_before_the_name():
    assert list_name("Active Users", "1", prefix="heap-").name == "heap-ActiveUsers"


@given(anything, heap_ids, prefixes)
def test_cordial_allows_whatever_comes_of_a_name(segment, heap_id, prefix):
    found = list_name(segment, heap_id, prefix=prefix)
    assert ALLOWED.fullmatch(found.name)
    assert found == list_name(segment, heap_id, prefix=prefix)
    assert is_reserved(found.name) is False
    assert found.note or found.name == prefix + "".join(segment.split())


@given(anything, heap_ids, prefixes)
def test_cordial_allows_whatever_is_put_beside_another(segment, heap_id, prefix):
    name = list_name(segment, heap_id, prefix=prefix).name
    for other in (beside_attribute(name), beside_other_segment(name, heap_id)):
        assert ALLOWED.fullmatch(other.name)
        assert other.name != name
        assert other.note


@given(anything, anything, prefixes)
def test_two_names_that_differ_without_white_space_never_become_one_by_mapping(first, second, prefix):
    assume("".join(first.split()) != "".join(second.split()))
    one, other = (list_name(segment, heap_id, prefix=prefix) for segment, heap_id in ((first, "1"), (second, "2")))
    if one.name == other.name:
        # A name as it is may look like a mapped one; two segments of one name are the store's to keep apart.
        assert not (one.note and other.note)


@given(st.text("ÀÁÂÃÄÅ&/ ", min_size=1, max_size=6), st.text("ÀÁÂÃÄÅ&/ ", min_size=1, max_size=6))
def test_names_that_read_alike_once_mapped_stay_two(first, second):
    assume("".join(first.split()) != "".join(second.split()))
    assert list_name("A" + first, "1").name != list_name("A" + second, "2").name


@given(heap_ids, heap_ids)
def test_two_segments_beside_one_name_get_two_names(one, other):
    assume(one != other)
    for name in ("ActiveUsers", "S" * 128):
        assert beside_other_segment(name, one).name != beside_other_segment(name, other).name


# Few letters, so that names and fall-back names meet.
few = st.text("Ff -12", min_size=1, max_size=5)


@given(
    st.dictionaries(st.text("12", min_size=1, max_size=3), few, min_size=1, max_size=12),
    st.frozensets(few, max_size=4),
)
def test_every_segment_gets_a_name_of_its_own(segments, attributes):
    def allot() -> dict[str, str]:
        given: dict[str, str] = {}
        for heap_id, segment in segments.items():
            taken = {name.lower() for name in given.values()}
            possible = names_in_turn(list_name(segment, heap_id), heap_id, attributes)
            given[heap_id] = next(each.name for each in possible if each.name.lower() not in taken)
        return given

    found = allot()
    assert found == allot()
    assert len({name.lower() for name in found.values()}) == len(segments)
    assert attributes.isdisjoint(found.values())
    assert all(ALLOWED.fullmatch(name) for name in found.values())


def test_a_long_name_is_cut_and_marked_so_that_its_end_still_counts():
    first, second = (list_name("S" * 200 + end, "1") for end in "ab")
    assert first.name != second.name
    assert len(first.name) == len(second.name) == 128
    assert "longer" in first.note
