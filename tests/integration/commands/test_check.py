import sqlite3
from pathlib import Path

import pytest

from service.sandbox.faults import Fault, FaultKind
from service.sandbox.server import running_sandbox
from service.store.sqlite import APPLICATION_ID
from tests.command_fixtures import Installation, eventually


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_check_is_content_and_changes_nothing(installation, cordial):
    before = files_below(installation.folder)
    ended = await installation.run("check")
    assert (ended.status, ended.errors) == (0, "")
    assert ended.output == "All is well: configuration, store, and Cordial's answer for acme.\n"
    assert files_below(installation.folder) == before
    assert not installation.database.parent.exists()
    assert (cordial.state.lists, cordial.state.contacts) == ({}, {})
    assert {call.method for call in cordial.journal.recent} == {"GET"}


async def test_check_leaves_a_store_as_it_is(installation):
    async with installation.serving():
        await installation.deliver("Active Users", ("jane@example.com",), task="task-1")
        await eventually(lambda: installation.figures("settled"), [1])
        assert (await installation.run("check")).status == 0
    content = installation.database.read_bytes()
    assert (await installation.run("check")).status == 0
    assert installation.database.read_bytes() == content


async def test_check_tells_a_refused_key(installation):
    installation.key_file.write_text("another-key")
    ended = await installation.run("check")
    assert (ended.status, ended.output) == (1, "")
    [line] = ended.errors.splitlines()
    assert line.startswith("accounts.acme.cordial_api_key: Cordial answers 401; the key is wrong, or")
    assert "another-key" not in line


async def test_check_tells_that_nobody_answers(tmp_path):
    async with running_sandbox() as gone:
        pass
    ended = await Installation(tmp_path, gone.url).run("check")
    [line] = ended.errors.splitlines()
    assert ended.status == 1
    assert line.startswith(f"accounts.acme.cordial_base_url: {gone.url} cannot be reached: ")


@pytest.mark.parametrize("status", [200, 404])
async def test_check_tells_that_it_is_not_cordial_who_answers(installation, cordial, status):
    cordial.faults.add(Fault(FaultKind.HTML, status=status))
    ended = await installation.run("check")
    [line] = ended.errors.splitlines()
    assert ended.status == 1
    assert line == (
        f"accounts.acme.cordial_base_url: {cordial.url} does not answer as Cordial does to a request for lists: "
        f"HTTP {status} without JSON"
    )


async def test_check_tells_every_fault_on_a_line_of_its_own(installation):
    installation.secret_file.unlink()
    installation.key_file.write_text("another-key")
    installation.database.parent.write_text("a file in the way")
    ended = await installation.run("check")
    assert ended.status == 1
    secret, store, key = ended.errors.splitlines()
    assert secret == (
        f"accounts.acme.heap_secret_file: file {installation.secret_file} cannot be read: No such file or directory"
    )
    assert store == f"store.path: {installation.database.parent} is a file; the store needs a folder there"
    assert key.startswith("accounts.acme.cordial_api_key: ")


async def test_check_and_status_and_serve_refuse_a_newer_store(installation):
    installation.database.parent.mkdir()
    with sqlite3.connect(installation.database) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    for command in ("check", "status", "serve"):
        ended = await installation.run(command)
        assert ended.status == 1
        assert "the database has schema 999, this program knows up to" in ended.errors


async def test_check_and_status_tell_faults_of_the_configuration(installation):
    installation.environment["HEAP_CORDIAL__SERVER__PORT"] = "none"
    for command in ("check", "status", "serve"):
        ended = await installation.run(command)
        assert ended.status == 2
        assert "server.port (set by HEAP_CORDIAL__SERVER__PORT)" in ended.errors
