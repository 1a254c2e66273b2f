import contextlib
import re
import sqlite3
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from service.commands.checks.host import CONTAINER_MARKS, check_exposure
from service.config.settings import ServerSettings
from service.sandbox.faults import Fault, FaultKind
from service.sandbox.server import running_sandbox
from service.store.sqlite.opening import APPLICATION_ID
from tests.command_fixtures import Installation, eventually


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_check_is_content_and_changes_nothing(installation, cordial):
    before = files_below(installation.folder)
    ended = await installation.run("check")
    assert (ended.status, ended.errors) == (0, "")
    store, version, granted, unknown, service, last = ended.output.splitlines()
    assert store.startswith(f"store: {installation.database} can be written, ")
    assert "SQLite" in version
    assert granted == (
        "accounts.acme: Cordial accepts the key and this host's address; granted: Get a single contact, "
        "Get a single list, Get attributes, Get lists"
    )
    assert unknown == (
        "accounts.acme: not checked, because that would write: Add a contact, Add a list, Update a contact"
    )
    assert service.startswith(f"service: not running at {installation.url}; start it with `heap-cordial serve`, then")
    assert last == "All is well: configuration, store, and Cordial's answer for acme."
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
    host = gone.url.removeprefix("http://")
    assert line == f"accounts.acme.cordial_base_url: {gone.url} cannot be reached: {host}: Connection refused"


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
    for name, kind, url in (
        ("ops", "WEBHOOK", "not a url"),
        ("chat", "SLACK", "https://"),
        ("gone", "SLACK", ""),
        ("good", "SLACK", "https://hooks.example.com/x"),
    ):
        file = installation.folder / f"{name}-url"
        file.write_text(url)
        file.chmod(0o600)
        installation.environment[f"HEAP_CORDIAL__NOTICES__{name.upper()}__KIND"] = kind.lower()
        installation.environment[f"HEAP_CORDIAL__NOTICES__{name.upper()}__URL_FILE"] = str(file)
    ended = await installation.run("check")
    assert ended.status == 1
    empty, secret, chat, ops, store, key = ended.errors.splitlines()
    assert empty == f"notices.gone.url_file: the secret in file {installation.folder}/gone-url is empty"
    assert chat == "notices.chat: the URL names no host"
    assert ops == "notices.ops: the URL must begin with https://; http is allowed only on this machine"
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
        assert "the database has schema 999, this program knows schemas up to" in ended.errors


async def test_check_and_status_tell_faults_of_the_configuration(installation):
    installation.environment["HEAP_CORDIAL__SERVER__PORT"] = "none"
    for command in ("check", "status", "serve"):
        ended = await installation.run(command)
        assert ended.status == 2
        assert "server.port (set by HEAP_CORDIAL__SERVER__PORT)" in ended.errors


async def checked(installation: Installation, *arguments: str) -> dict[str, list[str]]:
    """Return what a check found, as a program asks for it."""
    document: dict[str, list[str]] = msgspec.json.decode((await installation.run("check", "--json", *arguments)).output)
    return document


async def test_a_signed_page_travels_through_the_running_service_and_is_kept_nowhere(installation, cordial):
    async with installation.serving():
        found = await checked(installation)
        syncs = await installation.run("syncs")
    assert found["faults"] == []
    assert (
        "accounts.acme: the service accepted a signed sample page and did not keep it; it would call: "
        "POST /v2/accountlists; POST /v2/contacts"
    ) in found["notes"]
    assert syncs.output == "No sync yet: no page has arrived from Heap.\n"
    assert {call.method for call in cordial.journal.recent} == {"GET"}


async def test_a_service_with_another_secret_is_found_out(installation):
    async with installation.serving():
        other = installation.folder / "other-secret"
        other.write_text("whsec elsewhere")
        other.chmod(0o600)
        installation.environment["HEAP_CORDIAL__ACCOUNTS__ACME__HEAP_SECRET_FILE"] = str(other)
        [fault] = (await checked(installation))["faults"]
    assert fault.startswith(
        f"accounts.acme: the service at {installation.url} refuses a page signed with the secret of file "
        f"{other}: 403 the delivery is not authentic"
    )
    assert "whsec elsewhere" not in fault


@pytest.mark.parametrize(
    ("endpoint", "permission"),
    [
        ("/v2/accountlists", "Get lists"),
        ("/v2/accountlists/{id}", "Get a single list"),
        ("/v2/contacts/{key}", "Get a single contact"),
    ],
)
async def test_a_permission_that_is_missing_is_named(installation, cordial, endpoint, permission):
    cordial.faults.add(Fault(FaultKind.ANSWER, method="GET", endpoint=endpoint, status=403, times=None))
    [fault] = (await checked(installation))["faults"]
    assert fault == (f"accounts.acme.cordial_api_key: Cordial answers 403; the key lacks the permission “{permission}”")


async def test_names_are_told_before_the_first_call(installation, cordial):
    cordial.state.create_list("PowerUsers")
    installation.environment["HEAP_CORDIAL__ACCOUNTS__ACME__LIST_NAMES__7"] = "PowerUsers"
    installation.environment["HEAP_CORDIAL__ACCOUNTS__ACME__LIST_NAMES__8"] = "Readers"
    found = await checked(installation)
    [fault] = found["faults"]
    assert fault.startswith(
        "accounts.acme: Cordial has a list PowerUsers that segment 7 would need; set adopt_existing"
    )
    assert "accounts.acme: segment 8 would get a new list Readers" in found["notes"]


async def test_a_store_that_the_service_cannot_write_is_told_by_check_and_by_status(installation):
    """What the service knows and cannot write down, the store cannot tell."""
    async with installation.serving():
        with contextlib.closing(sqlite3.connect(installation.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")

            async def readiness() -> int:
                return int((await installation.get("/readyz"))[0])

            await eventually(readiness, 503)
            checked_now = await installation.run("check")
            status = await installation.run("status")
            as_json = msgspec.json.decode((await installation.run("status", "--json")).output)
            other.execute("ROLLBACK")
        await eventually(readiness, 200)
    assert (checked_now.status, "All is well" in checked_now.output) == (1, False)
    assert "service: it accepts no pages now: store_trouble; see `heap-cordial conditions`" in checked_now.errors
    assert status.status == 1
    assert re.search(r"(?m)^critical +store_trouble", status.output)
    assert as_json["conditions"][0]["id"] == "store_trouble"


async def test_new_segments_of_one_name_get_a_name_each(installation):
    installation.environment["HEAP_CORDIAL__ACCOUNTS__ACME__HOLD_NEW_SEGMENTS"] = "true"
    async with installation.serving():
        for number in (71, 72):
            await installation.deliver("Same", ("jane@example.com",), task=f"task-{number}", segment_id=number)
        await eventually(installation.list_states, ["held", "held"])
        notes = (await checked(installation))["notes"]
    for name in ("Same", "Same-72"):
        assert f"accounts.acme: segment “Same” would get a new list {name}" in notes


async def test_the_lists_of_segments_are_looked_for_in_cordial(installation, cordial):
    async with installation.serving():
        await installation.deliver("Active Users", ("jane@example.com",), task="task-1")
        await eventually(lambda: installation.figures("settled"), [1])
        assert (
            "accounts.acme: segment “Active Users” has the list ActiveUsers" in (await checked(installation))["notes"]
        )
        cordial.state.delete_list(cordial.state.lists_by_name["ActiveUsers"])
        [fault] = (await checked(installation))["faults"]
    assert fault.startswith("accounts.acme: the list ActiveUsers of segment “Active Users” is no longer in Cordial")


async def test_a_wrong_clock_is_told_at_half_of_what_heaps_signatures_allow(installation, aiohttp_server):
    async def late(_request):
        response = web.json_response([])
        response.headers["Date"] = format_datetime(datetime.now(UTC) - timedelta(seconds=100), usegmt=True)
        return response

    app = web.Application()
    app.router.add_get("/{path:.*}", late)
    server = await aiohttp_server(app)
    installation.environment["HEAP_CORDIAL__ACCOUNTS__ACME__CORDIAL_BASE_URL"] = str(server.make_url(""))
    assert (await checked(installation))["faults"] == []
    installation.environment["HEAP_CORDIAL__ACCOUNTS__ACME__TIMESTAMP_TOLERANCE_SECONDS"] = "150"
    [fault] = (await checked(installation))["faults"]
    assert re.match(r"clock: this host is (99|10\d) s ahead of Cordial's; set it \(NTP\)", fault)


async def test_whoever_is_to_fetch_from_outside_must_reach_the_service(installation):
    installation.environment["HEAP_CORDIAL__ACCOUNTS__ACME__PUBLIC_URL"] = f"http://127.0.0.1:{installation.port}"
    # Nothing answers there before the service runs, and no fault is named that its start mends.
    assert (await checked(installation))["faults"] == []
    async with installation.serving():
        installation.environment["HEAP_CORDIAL__ACCOUNTS__ACME__PUBLIC_URL"] = "http://127.0.0.1:9"
        [fault] = (await checked(installation))["faults"]
        assert fault.startswith("accounts.acme.public_url: the service does not answer at http://127.0.0.1:9/livez")
        installation.environment["HEAP_CORDIAL__ACCOUNTS__ACME__PUBLIC_URL"] = installation.url
        found = await checked(installation, "--url", f"{installation.url}/")
    assert found["faults"] == []
    assert any(note.startswith("accounts.acme.public_url: the service answers at ") for note in found["notes"])


async def test_where_it_warns_it_does_not_say_that_all_is_well(installation):
    installation.secret_file.chmod(0o640)
    installation.environment["HEAP_CORDIAL__SERVER__HOST"] = "0.0.0.0"  # noqa: S104  what is warned of
    ended = await installation.run("check")
    assert ended.status == 0
    secret, *exposure = ended.errors.splitlines()
    assert secret == (
        f"warning: accounts.acme.heap_secret_file: file {installation.secret_file} can be read by its group; "
        "run chmod 600 on it"
    )
    # In a container the address says nothing of who reaches it.
    assert [line.partition(":")[2].partition(" is ")[0] for line in exposure] == (
        [] if any(mark.exists() for mark in CONTAINER_MARKS) else [" server.host: 0.0.0.0"]
    )
    number = "1 warning" if not exposure else "2 warnings"
    assert ended.output.splitlines()[-1] == (
        f"No fault, but {number}: configuration, store, and Cordial's answer for acme."
    )


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)])  # noqa: S104
def test_a_service_open_to_the_network_in_clear_text_is_warned_of(tmp_path, host, warned):
    found = check_exposure(ServerSettings(host=host), container_marks=())
    assert [warning.partition(":")[0] for warning in found.warnings] == ["server.host"] * warned
    # In a container the address says nothing of who reaches it.
    assert check_exposure(ServerSettings(host=host), container_marks=(tmp_path,)).warnings == []
    secured = ServerSettings(host=host, tls_certificate_file="/chain.pem", tls_key_file="/key.pem")
    assert check_exposure(secured, container_marks=()).warnings == []
