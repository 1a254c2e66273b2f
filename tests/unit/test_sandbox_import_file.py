import csv
import io
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.sandbox.imports.cells import RowRejectedError, read_row
from service.sandbox.imports.columns import Columns, resolve_columns
from service.sandbox.imports.failure import ImportFailedError
from service.sandbox.imports.records import Splitter, rows_of
from service.sandbox.state import SandboxState
from tests.sandbox_import_fixtures import ADDRESS, STATUS

CELLS = st.text(st.sampled_from('ab,;"\n\ré '), max_size=6)


def split(file: bytes, chunk_bytes: int, records_per_part: int = 3, *, has_header: bool = False) -> Splitter:
    splitter = Splitter(records_per_part, has_header=has_header)
    for start in range(0, len(file), chunk_bytes):
        splitter.feed(file[start : start + chunk_bytes])
    splitter.finish()
    return splitter


def rows_in(file: bytes, splitter: Splitter) -> list[list[str]]:
    return [
        row
        for part in splitter.parts
        for row in rows_of(file[part.start_bytes :][: part.length_bytes], ",", part.records)
    ]


@given(st.lists(st.tuples(CELLS, CELLS), max_size=12), st.integers(1, 40), st.integers(1, 5), st.sampled_from("\r\n"))
@example([("", "")], 1, 1, "\n")
def test_what_a_writer_of_csv_wrote_is_read_whatever_the_chunks(records, chunk_bytes, records_per_part, ending):
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n" if ending == "\r" else "\n").writerows(records)
    file = text.getvalue().encode()
    splitter = split(file, chunk_bytes, records_per_part)
    assert rows_in(file, splitter) == [list(record) for record in records]
    assert splitter.records == len(records)
    assert all(part.records <= records_per_part for part in splitter.parts)


@pytest.mark.parametrize("file", [b"a,b\nc,d\n\n\r\ne,f", b"\na,b\r\nc,d\r\ne,f\r\n\r\n", b'"a",b\n\n"c",d\n"e","f"'])
@pytest.mark.parametrize("chunk_bytes", [1, 2, 100])
def test_blank_lines_are_no_records_and_the_last_line_needs_no_end(file, chunk_bytes):
    splitter = split(file, chunk_bytes, records_per_part=2)
    assert rows_in(file, splitter) == [["a", "b"], ["c", "d"], ["e", "f"]]
    assert [part.records for part in splitter.parts] == [2, 1]


def test_a_header_is_set_apart():
    file = b"\nx,y\na,b\n"
    splitter = split(file, 3, has_header=True)
    assert splitter.header is not None
    assert file[splitter.header.start_bytes :][: splitter.header.length_bytes].strip() == b"x,y"
    assert rows_in(file, splitter) == [["a", "b"]]
    assert split(b"", 1, has_header=True).header is None
    assert split(b"x,y", 1, has_header=True).records == 0


def test_bytes_that_are_not_utf8_spoil_their_cell_only():
    assert rows_of("jané,1\n".encode() + b"jan\xe9,1\n", ",", 2) == [
        ["jané", "1"],
        ["jan\N{REPLACEMENT CHARACTER}", "1"],
    ]


def test_a_file_that_ends_within_a_quoted_cell_fails():
    with pytest.raises(ImportFailedError, match="within a quoted cell"):
        split(b'a,"b\nc,d\n', 4)


@pytest.mark.parametrize("filling", [b"x" * 65_536, b"x\n" * 32_768])
def test_a_record_without_end_fails_before_it_fills_the_memory(filling):
    splitter = Splitter(3, has_header=False)
    splitter.feed(b'a,"')
    for _ in range((1 << 20) // len(filling) - 1):
        splitter.feed(filling)
    with pytest.raises(ImportFailedError, match="longer than 1 MiB"):
        splitter.feed(filling)


@pytest.mark.parametrize("part", [b'"a"b,c\n', b"a\rb,c\n", b'a"\nb"\n'])
def test_records_that_can_be_read_in_two_ways_fail(part):
    with pytest.raises(ImportFailedError, match="cannot be read"):
        rows_of(part, ",", 1)


@pytest.fixture
def state():
    state = SandboxState(("custID",), {"firstName": "string", "age": "number", "tags": "array"})
    for name in ("Readers", "Buyers", "102"):
        state.create_list(name)
    return state


def resolve(
    state: SandboxState, *names: str, overridden: Sequence[str] = (), by_secondary_key: bool = False
) -> Columns:
    lists = [state.lists_by_name[name] for name in overridden]
    return resolve_columns(state, names, lists, by_secondary_key=by_secondary_key)


def test_columns_are_found_by_name_and_lists_by_id_too(state):
    columns = resolve(state, "firstName", "", "101", ADDRESS, STATUS, "custID", "Buyers", "age")
    assert (columns.width, columns.address, columns.status, columns.key) == (8, 3, 4, None)
    assert [(position, account_list.name) for position, account_list in columns.lists] == [
        (2, "Readers"),
        (6, "Buyers"),
    ]
    assert columns.identifiers == [(5, "custID")]
    assert columns.attributes == [(0, "firstName", "string"), (7, "age", "number")]


def test_a_list_whose_name_is_another_lists_id_is_meant_by_its_name(state):
    ((_, account_list),) = resolve(state, ADDRESS, "102").lists
    assert account_list.name == "102"


def test_lists_set_for_everybody_override_their_columns(state):
    columns = resolve(state, ADDRESS, "101", "Buyers", overridden=["Readers"])
    assert [account_list.name for _, account_list in columns.lists] == ["Buyers"]
    assert columns.width == 3


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ((ADDRESS, "readers"), "not part of the schema"),
        ((ADDRESS, "999"), "not part of the schema"),
        ((ADDRESS, "tags"), "not part of the schema"),
        ((ADDRESS, "channels.sms.address"), "not part of the schema"),
        (("Readers",), f"no column {ADDRESS}"),
        (("custID", "Readers"), f"no column {ADDRESS}"),
        ((ADDRESS, "Readers", "Readers"), "comes twice"),
        ((ADDRESS, "Readers", "101"), "two columns"),
    ],
)
def test_columns_that_make_no_sense_fail(state, names, reason):
    with pytest.raises(ImportFailedError, match=reason):
        resolve(state, *names)


def test_a_secondary_key_may_be_enough(state):
    columns = resolve(state, "Readers", "custID", by_secondary_key=True)
    assert (columns.key, columns.identifiers) == ((1, "custID"), [])
    assert resolve(state, ADDRESS, "custID", by_secondary_key=True).key is None
    with pytest.raises(ImportFailedError):
        resolve(state, "Readers", by_secondary_key=True)


def test_a_row_says_whom_it_is_about_and_what_to_write(state):
    columns = resolve(state, ADDRESS, "Readers", "Buyers", "custID", "firstName", "age", STATUS)
    values = read_row(columns, [" Jane@Example.com ", "1", "-", "", "Jane", "41.5", "none"], "-")
    assert (values.address, values.key, values.subscribe_status) == ("jane@example.com", None, "none")
    assert [(account_list.name, wanted) for account_list, wanted in values.memberships] == [("Readers", True)]
    assert values.identifiers == [("custID", None)]
    assert values.attributes == [("firstName", "Jane"), ("age", 41.5)]


@pytest.mark.parametrize("cell", ["", "-"])
def test_a_status_that_is_empty_or_skipped_says_nothing(state, cell):
    assert read_row(resolve(state, ADDRESS, STATUS), ["a@example.com", cell], "-").subscribe_status is None


@pytest.mark.parametrize(
    "row",
    [
        ["a@example.com", "1"],
        ["a@example.com", "1", "none", "7", "x"],
        ["", "1", "none", "7"],
        ["-", "1", "none", "7"],
        ["jane", "1", "none", "7"],
        ["a@example.com", "", "none", "7"],
        ["a@example.com", "true", "none", "7"],
        ["a@example.com", "1", "Subscribed", "7"],
        ["a@example.com", "1", "none", "seven"],
    ],
)
def test_a_row_with_a_cell_that_does_not_fit_is_rejected(state, row):
    with pytest.raises(RowRejectedError):
        read_row(resolve(state, ADDRESS, "Readers", STATUS, "age"), row, "-")
