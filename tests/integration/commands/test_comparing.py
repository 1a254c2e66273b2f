"""Is a list exact, member by member: through an audience, one by one, and by a file that somebody exported."""

import csv
import json

import pytest

from service.commands.csv_file import UnreadableFileError
from service.commands.exported_file import ExportedFile
from service.sandbox.faults import Fault, FaultKind
from service.sandbox.state import SandboxState
from tests.command_fixtures import eventually

MISSING, LEFT, STRANGER = "missing@example.com", "left@example.com", "stranger@example.com"
USERS = tuple(f"user{number}@example.com" for number in range(12))
NAMED = [("missing", f"email:{MISSING}"), ("wrongly on", f"email:{LEFT}"), ("stranger", f"email:{STRANGER}")]
ACCOUNT = "HEAP_CORDIAL__ACCOUNTS__ACME__"


async def deliver(installation) -> None:
    await installation.deliver("Active Users", (*USERS, MISSING, LEFT), task="task-1")
    await eventually(lambda: installation.figures("settled"), [14])
    await installation.deliver("Active Users", (), (LEFT,), task="task-2")
    await eventually(lambda: installation.figures("settled", "pending"), [13, 0])


def meddle(state: SandboxState) -> None:
    """One is missing, one is back, one is a stranger: the count is still right plus one."""
    members = state.lists_by_name["ActiveUsers"].members
    for user in (MISSING, LEFT):
        contact = state.find("email", user)
        assert contact is not None
        members.pop(contact.cid, None) if user == MISSING else members.setdefault(contact.cid, 1)
    members[state.create_contact(f"email:{STRANGER}", STRANGER).cid] = 1


async def members(cordial) -> list[str]:
    found: list[str] = cordial.state.members("ActiveUsers")
    return found


@pytest.fixture
def by_audience(installation):
    installation.environment[f"{ACCOUNT}AUDIENCE_KEYS"] = '{ 15225086 = "ActiveUsers" }'
    installation.environment[f"{ACCOUNT}PROOF_SAMPLE"] = "0"
    installation.environment[f"{ACCOUNT}PROOF_READS_PER_HOUR"] = "0"
    return installation


async def test_through_an_audience_each_is_named_and_what_is_ours_is_set_right(by_audience, cordial, tmp_path):
    file = tmp_path / "differences.csv"
    async with by_audience.serving():
        await deliver(by_audience)
        exact = await by_audience.run("verify", "ActiveUsers", "--members")
        meddle(cordial.state)
        told = await by_audience.run("verify", "ActiveUsers", "--members", "--json", "--report-only")
        differs = await by_audience.run("verify", "ActiveUsers", "--members", "--csv", str(file))
        await eventually(lambda: members(cordial), sorted([*USERS, MISSING, STRANGER]))
    assert (exact.status, "all 13 members" in exact.output) == (0, True), exact
    assert told.status == 1
    *each, summary = [json.loads(line) for line in told.output.splitlines()]
    assert [(one["what"], one["contact"]) for one in each] == NAMED
    assert (summary["missing"], summary["wrongly_on"], summary["stranger"], summary["read_back"]) == (1, 1, 1, 0)
    assert differs.status == 1
    with file.open(newline="") as rows:
        assert list(csv.reader(rows))[1:] == [list(one) for one in NAMED]
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("key", ["STRANGERS", "STRANGERS_OF__15225086"])
async def test_strangers_are_taken_off_where_the_account_or_the_list_wants_that(by_audience, cordial, key):
    by_audience.environment[f"{ACCOUNT}{key}"] = "remove"
    async with by_audience.serving():
        await deliver(by_audience)
        meddle(cordial.state)
        await by_audience.run("verify", "ActiveUsers", "--members")
        await eventually(lambda: members(cordial), sorted([*USERS, MISSING]))


async def test_without_an_audience_it_asks_and_reads_each(installation, cordial):
    async with installation.serving():
        await installation.deliver(
            "Active Users", tuple(f"user{number}@example.com" for number in range(60)), task="task-1"
        )
        await eventually(lambda: installation.figures("settled"), [60])
        contact = cordial.state.find("email", USERS[3])
        assert contact is not None
        cordial.state.lists_by_name["ActiveUsers"].members.pop(contact.cid)
        asked = await installation.run("verify", "ActiveUsers", "--members")
        read = await installation.run("verify", "ActiveUsers", "--members", "--yes", "--report-only")
    assert asked.status == 1
    assert "each of 60 contacts is read alone: about" in asked.errors
    assert read.status == 1
    assert f"missing  email:{USERS[3]}" in read.output


FORMS = [
    ("utf-8", ",", ("Email", "ActiveUsers"), "1"),
    ("utf-8-sig", ";", ("channels.email.address", "101"), "true"),
    ("utf-16", "\t", ("email address", "lists"), "Others;ActiveUsers"),
    ("cp1252", ",", ("email", "Naïve"), "é"),
]


async def test_a_file_from_cordials_pages_is_compared_and_what_is_ours_is_set_right(by_audience, cordial):
    file = by_audience.folder / "export.csv"
    async with by_audience.serving():
        await deliver(by_audience)
        meddle(cordial.state)
        for encoding, delimiter, headers, on in FORMS:
            rows = [(user.upper(), on) for user in cordial.state.members("ActiveUsers")]
            if headers[1] in {"ActiveUsers", "101"}:
                rows.append(("nobody@example.com", "0"))
            with file.open("w", encoding=encoding, newline="") as text:
                csv.writer(text, delimiter=delimiter).writerows([headers, *rows])
            told = await by_audience.run("compare", "ActiveUsers", str(file), "--json", "--report-only")
            assert told.status == 1, told
            *each, summary = [json.loads(line) for line in told.output.splitlines()]
            assert [(one["what"], one["contact"]) for one in each] == NAMED
            assert summary["read_back"] == 0
        told = await by_audience.run("compare", "ActiveUsers", str(file), "--json")
        assert json.loads(told.output.splitlines()[-1])["read_back"] == 3
        await eventually(lambda: members(cordial), sorted([*USERS, MISSING, STRANGER]))


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "it is empty"), (b"name,ActiveUsers\nJane,1\n", "no column is known to hold email"), (None, "No such file")],
)
async def test_a_file_that_cannot_be_compared_says_why(installation, tmp_path, content, words):
    file = tmp_path / "export.csv"
    if content is not None:
        file.write_bytes(content)
    async with installation.serving():
        await installation.deliver("Active Users", USERS, task="task-1")
        await eventually(lambda: installation.figures("settled"), [12])
        ended = await installation.run("compare", "ActiveUsers", str(file))
    assert (ended.status, words in ended.errors) == (1, True), ended


LINE = "jane@example.com,1\r\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("Email,email,ActiveUsers\r\njane@example.com,,1\r\n", "several columns Email"),
        ("email,ActiveUsers,ActiveUsers\r\njane@example.com,1,0\r\n", "several columns ActiveUsers"),
        (f"email,ActiveUsers\r\n{LINE}jane@exam", "the file was cut off"),
        (f'email,ActiveUsers,name\r\njane@example.com,1,"Ja\r\n{LINE}', "the file was cut off"),
        (
            f"email,ActiveUsers\r\n{LINE}" + "x" * 2_000_000,
            "row 3 cannot be read: it has more than 1,000,000 characters",
        ),
        (f"email,ActiveUsers\r\n{LINE}\udc81x,1\r\n", "cannot be read"),
        ("\r\n\r\n", "it is empty"),
    ],
)
def test_a_file_that_is_damaged_or_ambiguous_is_refused(tmp_path, content, words):
    with pytest.raises(UnreadableFileError, match=words):
        list(exported(tmp_path, content.encode(errors="surrogateescape")).people())


@pytest.mark.parametrize(
    "content",
    [
        f"email,ActiveUsers\r\n{LINE}",
        f"email,ActiveUsers\r\n{LINE.strip()}",
        "\r\nemail;ActiveUsers\r\n\r\n jane@example.com ;1;\r\n",
        'email,name,ActiveUsers\r\njane@example.com,"Ja\r\nne ""J"" D",1\r\n',
        'email,ActiveUsers,name\njane@example.com,1,5" nail\n',
        "email,name,ActiveUsers\njane@example.com,a\x0bb\x85c\u2028d,1\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_is_read_however_it_was_saved(tmp_path, content, encoding):
    if encoding in {"utf-16-le", "utf-16-be"} and not content.isascii():
        pytest.skip("without a mark it cannot be told from other bytes")
    file = exported(tmp_path, content.encode(encoding))
    assert list(file.people()) == [["email:jane@example.com"]]
    assert (file.rows, file.on_list, file.remarks()) == (1, 1, "")


def exported(folder, content: bytes) -> ExportedFile:
    path = folder / "export.csv"
    path.write_bytes(content)
    return ExportedFile(path, keys=["email"], column=None, lists=["ActiveUsers", "101"])


async def test_an_audience_whose_pages_never_end_is_refused(by_audience, cordial):
    pages = [
        json.dumps([{"_id": address, "channels": {"email": {"address": address}}}]) for address in (*USERS[:2], MISSING)
    ]
    async with by_audience.serving():
        await deliver(by_audience)
        # One and another, for ever; those who are repeated once do not end it.
        order = [0, 0, 1, *([2, 1, 0] * 10)]
        for number in order:
            cordial.faults.add(
                Fault(FaultKind.ANSWER, endpoint="/v2/contacts", method="GET", status=200, body=pages[number])
            )
        ended = await by_audience.run("verify", "ActiveUsers", "--members", "--report-only")
    assert (ended.status, "repeats the same people" in ended.errors) == (1, True), ended
    assert len(cordial.faults.script) >= len(order) - 8
