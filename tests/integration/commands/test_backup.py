"""`backup` and `restore` as an operator runs them: processes, files, and a service that is killed in between."""

import asyncio
import contextlib
import sqlite3

import msgspec
import pytest

from service.store.sqlite import queries
from tests.command_fixtures import eventually
from tests.store_versions import add_settled_members, faults_of, make_store_file, version_of

NEWEST = queries.migrations()[-1][0]


def members_in(file) -> int:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        number: int = connection.execute("SELECT count(*) FROM member").fetchone()[0]
        return number


@contextlib.asynccontextmanager
async def killed_at_the_end(installation):
    """Serve until the block ends, then kill -9."""
    with contextlib.suppress(AssertionError):
        async with installation.serving() as process:
            yield
            process.kill()
            await process.wait()


async def test_what_was_acknowledged_before_a_backup_is_delivered_after_the_restore(installation, cordial, tmp_path):
    backup = tmp_path / "backup.db"
    acknowledged: list[str] = []
    is_over = asyncio.Event()

    async def send_pages() -> None:
        while not is_over.is_set():
            number = len(acknowledged)
            answer = await installation.deliver("Active", (f"user{number}@example.com",), task=f"task-{number}")
            assert answer.status == 200
            acknowledged.append(f"user{number}@example.com")

    async def come_to(number: int) -> None:
        while len(acknowledged) < number:  # noqa: ASYNC110  nobody sets an event
            await asyncio.sleep(0.01)

    async with killed_at_the_end(installation):
        sending = asyncio.create_task(send_pages())
        await come_to(15)
        before = set(acknowledged)
        taken = await installation.run("backup", "--to", str(backup))
        await come_to(len(acknowledged) + 5)
        is_over.set()
        await sending
    assert taken.status == 0, taken.errors
    assert "members" in taken.output
    assert backup.stat().st_mode & 0o777 == 0o600
    restored = await installation.run("restore", "--from", str(backup), "--force")
    assert restored.status == 0, restored.errors
    async with installation.serving():
        await eventually(lambda: installation.figures("pending", "waiting"), [0, 0])
        assert before <= set(cordial.state.members("Active"))
        await installation.deliver("Active", tuple(acknowledged), task="sync-now")
        await eventually(lambda: installation.figures("settled"), [len(acknowledged)])
        exact = await installation.run("verify", "Active")
    assert exact.output == f"Active is exact: Cordial counts {len(acknowledged)}.\n"
    assert cordial.state.members("Active") == sorted(acknowledged)


async def test_programs_are_told_what_a_backup_and_a_restored_store_contain(installation, tmp_path):
    installation.database.parent.mkdir()
    make_store_file(installation.database, NEWEST)
    target = tmp_path / "taken.db"
    taken = msgspec.json.decode((await installation.run("backup", "--to", str(target), "--json")).output)
    contents = {"schema": NEWEST, "members": 5, "unsettled": 5, "last_page_at": "2023-11-14T22:13:20Z"}
    assert taken == {"file": str(target), "size_bytes": target.stat().st_size, **contents}
    put_back = ("restore", "--from", str(target), "--force", "--json")
    restored = msgspec.json.decode((await installation.run(*put_back)).output)
    (kept,) = installation.database.parent.glob("store.db.replaced-*")
    sizes = {"size_bytes": installation.database.stat().st_size}
    assert restored == {"file": str(installation.database), **sizes, **contents, "replaced": str(kept)}


async def test_a_backup_writes_over_nothing(installation, tmp_path):
    installation.database.parent.mkdir()
    make_store_file(installation.database, NEWEST)
    target = tmp_path / "taken.db"
    first = await installation.run("backup", "--to", str(target))
    content = target.read_bytes()
    again = await installation.run("backup", "--to", str(target))
    assert (first.status, again.status) == (0, 1)
    assert again.errors == f"{target} exists already; give a new file name\n"
    assert target.read_bytes() == content
    assert faults_of(target) == []
    assert "5 members, 5 unsettled, last page 2023-11-14 22:13:20 UTC" in first.output
    assert {path.name for path in tmp_path.glob("taken*")} == {"taken.db"}


@pytest.mark.parametrize("target", ["missing/folder/backup.db", "."])
async def test_a_backup_that_cannot_be_written_says_so(installation, tmp_path, target):
    installation.database.parent.mkdir()
    make_store_file(installation.database, NEWEST)
    ended = await installation.run("backup", "--to", str(tmp_path / target))
    assert ended.status == 1
    assert str(tmp_path) in ended.errors


async def test_there_is_nothing_to_back_up_before_the_first_start(installation, tmp_path):
    ended = await installation.run("backup", "--to", str(tmp_path / "backup.db"))
    assert ended.status == 1
    assert "was not backed up" in ended.errors
    assert not (tmp_path / "backup.db").exists()


async def test_a_running_service_is_not_restored_under_its_feet(installation, tmp_path):
    backup = tmp_path / "backup.db"
    make_store_file(backup, NEWEST)
    async with installation.serving():
        ended = await installation.run("restore", "--from", str(backup), "--force")
    assert ended.status == 1
    assert "in use by another process" in ended.errors
    assert members_in(installation.database) == 0


async def test_the_store_that_was_there_is_kept_with_what_its_wal_held(installation, tmp_path):
    backup, folder = tmp_path / "backup.db", installation.database.parent
    make_store_file(backup, NEWEST)
    folder.mkdir()
    make_store_file(installation.database, NEWEST)
    with contextlib.closing(sqlite3.connect(installation.database)) as crashed:
        crashed.execute("SELECT 1 FROM member")
        add_settled_members(installation.database, 100)
        # As a crash leaves it: the connection's end would take the WAL in.
        left = {name: (folder / name).read_bytes() for name in ("store.db", "store.db-wal")}
    for name, content in left.items():
        (folder / name).write_bytes(content)
    installation.database.chmod(0o640)
    asked = await installation.run("restore", "--from", str(backup))
    assert asked.status == 1
    assert "--force" in asked.errors
    done = await installation.run("restore", "--from", str(backup), "--force")
    assert done.status == 0, done.errors
    (kept,) = folder.glob("store.db.replaced-*")
    assert str(kept) in done.output
    assert (members_in(kept), members_in(installation.database)) == (106, 6)
    assert not (folder / "store.db-wal").exists()
    assert installation.database.stat().st_mode & 0o777 == 0o640


async def test_a_damaged_store_is_replaced(installation, tmp_path):
    backup = tmp_path / "backup.db"
    make_store_file(backup, NEWEST)
    installation.database.parent.mkdir()
    installation.database.write_bytes(b"broken" * 5_000)
    done = await installation.run("restore", "--from", str(backup), "--force")
    assert done.status == 0, done.errors
    assert members_in(installation.database) == 6


def damage(file) -> None:
    make_store_file(file, NEWEST)
    with file.open("r+b") as content:
        content.seek(4096 * 3)
        content.write(b"\xff" * 4096 * 4)


def mark_newer(file) -> None:
    make_store_file(file, NEWEST)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 99")


def make_theirs(file) -> None:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE theirs (id INTEGER)")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (damage, "is damaged"),
        (mark_newer, "schema 99"),
        (make_theirs, "another program"),
        (lambda file: file.write_text("a shopping list " * 100), "not a database"),
        (lambda file: file.touch(), "empty"),
        (lambda _: None, "there is no backup"),
    ],
    ids=["damaged", "newer", "theirs", "no database", "empty", "missing"],
)
async def test_what_is_no_good_backup_is_refused_and_the_store_left_alone(installation, tmp_path, make, words):
    make(tmp_path / "backup.db")
    installation.database.parent.mkdir()
    make_store_file(installation.database, NEWEST)
    ended = await installation.run("restore", "--from", str(tmp_path / "backup.db"), "--force")
    assert ended.status == 1
    assert words in ended.errors
    assert members_in(installation.database) == 6
    assert not [path for path in installation.database.parent.iterdir() if "re" in path.name.removeprefix("store")]


async def test_a_backup_of_an_older_schema_is_upgraded_at_the_next_start(installation, tmp_path):
    make_store_file(tmp_path / "older.db", 1)
    done = await installation.run("restore", "--from", str(tmp_path / "older.db"))
    assert done.status == 0, done.errors
    assert version_of(installation.database) == 1
    async with installation.serving():
        assert version_of(installation.database) == NEWEST
    assert members_in(installation.database) >= 6
