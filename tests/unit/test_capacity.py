"""The tables of docs/capacity.md: their figures follow from the formulae that stand there, and their advice can be taken."""

import math
import re
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import fields

from service.config.settings import AccountSettings, StoreSettings

ROOT = Path(__file__).parents[2]
CAPACITY = (ROOT / "docs/capacity.md").read_text(encoding="utf-8")
HEADINGS = {
    "first sync": "| members of an account |",
    "deltas": "| changes in four hours |",
    "hosts": "| members |",
    "settings": "| members, accounts |",
}
GIB, MIB = 1 << 30, 1 << 20


def rows_of(table: str) -> list[list[str]]:
    """The cells of each row of the table with that heading."""
    lines = CAPACITY.split(HEADINGS[table], 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def headings_of(table: str) -> list[str]:
    line = HEADINGS[table] + CAPACITY.split(HEADINGS[table], 1)[1].split("\n", 1)[0]
    return [cell.strip() for cell in line.strip("|").split("|")]


def numbers_in(text: str) -> list[Decimal]:
    return [Decimal(number.replace(",", "")) for number in re.findall(r"[\d,]*\d(?:\.\d+)?", text)]


def number(text: str) -> Decimal:
    [found] = numbers_in(text)
    return found


def assumed(name: str) -> Decimal:
    """A figure that the formulae are given, by the name under which the document lists it."""
    [line] = re.findall(rf"(?m)^{name} += ([\d,.]+)", CAPACITY)
    return number(line)


def assert_rounded(shown: str, exact: Decimal) -> None:
    """Assert that `shown` is `exact`, rounded to as many places as it has."""
    value = number(shown)
    places = Decimal(1).scaleb(int(value.as_tuple().exponent))
    assert abs(value - exact) <= places / 2, f"{shown} is shown where {exact:.4f} comes out"


def rates() -> list[Decimal]:
    return [number(heading) for heading in headings_of("deltas")[1:]]


@pytest.mark.parametrize("row", rows_of("first sync"), ids=lambda row: row[0])
def test_a_first_sync_takes_its_calls_over_the_rate(row):
    members, *hours, minutes = row
    assert headings_of("first sync")[1:-1] == headings_of("deltas")[1:]
    for shown, rate in zip(hours, rates(), strict=True):
        assert_rounded(shown, number(members) / rate / 3600)
    assert_rounded(minutes, 2 * number(members) / assumed("import_rows_per_second") / 60)


@pytest.mark.parametrize("row", rows_of("deltas"), ids=lambda row: row[0])
def test_a_delta_is_marked_where_it_does_not_fit_into_four_hours(row):
    changes, *hours = row
    for shown, rate in zip(hours, rates(), strict=True):
        exact = number(changes) / rate / 3600
        assert_rounded(shown, exact)
        assert ("too slow" in shown) == (exact > 4)


@pytest.mark.parametrize("row", rows_of("hosts"), ids=lambda row: row[0])
def test_the_store_and_the_disk_follow_from_members_and_segments(row):
    members, _, segments, changes, _, _, store, disk = row
    assert number(changes) == number(members) * assumed("changed_share")
    syncs = number(segments) * assumed("syncs_per_day") * assumed("retention_days")
    store_bytes = assumed("bytes_per_member") * number(members) + assumed("bytes_per_sync") * syncs
    assert_rounded(store, store_bytes / MIB)
    disk_bytes = assumed("copies") * store_bytes + assumed("wal_bytes")
    assert number(disk) == math.ceil(disk_bytes / GIB)


@pytest.mark.parametrize("row", rows_of("settings"), ids=lambda row: row[0])
def test_recommended_settings_are_within_bounds_and_do_what_they_are_for(row):
    sizes, max_backlog, requests_per_second, max_concurrency, bulk_threshold, retention_days = row
    members, accounts = numbers_in(sizes)
    rate = number(requests_per_second)
    # A first sync of everybody at once is taken; all accounts together stay below what one process can call.
    assert number(max_backlog) > members
    assert accounts * rate <= assumed("calls_per_second_at_most")
    assert number(max_concurrency) >= rate * assumed("seconds_per_call") * 2
    assert number(retention_days) == assumed("retention_days")
    assert 0 < number(bulk_threshold) < members
    assert 1 <= number(max_concurrency) <= 1024


def test_what_is_called_the_default_is_the_default():
    defaults = {field.name: field.default for kind in (AccountSettings, StoreSettings) for field in fields(kind)}
    named = dict(re.findall(r"`(\w+)` \(default ([\d,]+)\)", CAPACITY))
    assert set(named) == {"max_backlog", "bulk_threshold", "max_concurrency", "requests_per_second"}
    assert {name: number(text) for name, text in named.items()} == {name: defaults[name] for name in named}
    assert assumed("retention_days") == defaults["retention_days"]
