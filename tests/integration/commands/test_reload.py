"""SIGHUP: another configuration takes effect while the service runs, or leaves everything as it is."""

import asyncio
import os
import signal
from itertools import pairwise
from pathlib import Path

import aiohttp
import pytest

from service.sandbox.faults import Fault, FaultKind
from service.sandbox.server import RunningSandbox
from tests.command_fixtures import API_KEY, WEBHOOK_SECRET, eventually, run_command
from tests.reload_fixtures import REFUSED, Reloadable, keys_told

JANE, JOHN = "jane@example.com", "john@example.com"


@pytest.fixture
def service(tmp_path, cordial) -> Reloadable:
    return Reloadable(tmp_path, cordial.url, "acme")


async def test_a_reload_tells_the_keys_that_took_effect_and_none_of_their_values(service):
    async with service.running():
        service.accounts["acme"] |= {"max_attempts": 7, "heap_id_token": "token-nobody-may-read"}
        service.sections["store"]["max_backlog"] = 4321
        news = await service.reload()
        assert keys_told(news) == ["accounts.acme.heap_id_token", "accounts.acme.max_attempts", "store.max_backlog"]
        assert keys_told(await service.reload()) == []
        assert "token-nobody-may-read" not in service.log.read_text()


async def test_a_configuration_with_faults_changes_nothing_and_each_fault_has_a_line(service):
    async with service.running():
        service.accounts["shop"] = {"max_attempts": 0}
        service.sections["log"]["level"] = "chatty"
        service.accounts["acme"]["timestamp_tolerance_seconds"] = 1
        news = await service.reload(outcome=REFUSED)
        assert [line["event"] for line in news] == [REFUSED, REFUSED]
        assert sorted(line["fault"].split(":")[0] for line in news) == ["accounts.shop.max_attempts", "log.level"]
        assert (await service.post("shop", [JANE], task="t")).status == 403

        service.config.write_text("[server\n")
        service.send_signal()
        await eventually(lambda: _count(service, REFUSED), 3)

        service.sections["log"]["level"] = "info"
        service.accounts["shop"] = {"heap_secret_file": str(service.folder / "nowhere")}
        await service.reload(outcome=REFUSED)
        await eventually(lambda: _count(service, REFUSED), 4)
        assert service.lines()[-1]["fault"].startswith("accounts.shop.heap_secret_file: ")
        assert (await service.account_documents()).keys() == {"acme"}
        assert (await service.post("acme", [JANE], task="t")).status == 200


async def test_what_a_reload_could_not_take_up_stays_a_condition_until_it_is_corrected(service):
    async with service.running():
        service.sections["log"]["level"] = "chatty"
        await service.reload(outcome=REFUSED)
        await eventually(lambda: service.has_condition("configuration_refused", "log.level: "), True)
        service.sections["log"]["level"] = "info"
        service.sections["server"]["max_connections"] = 77
        await service.reload()
        await eventually(lambda: service.has_condition("configuration_refused"), False)
        await eventually(lambda: service.has_condition("restart_needed", "server.max_connections"), True)
        del service.sections["server"]["max_connections"]
        await service.reload()
        await eventually(lambda: service.has_condition("restart_needed"), False)


async def test_a_pipe_or_a_giant_in_the_place_of_a_file_stops_nothing(service):
    async with service.running():
        refused = 0
        for file in (service.config, service.secret_file):
            content = file.read_bytes()
            for put in (os.mkfifo, _write_a_giant):
                file.unlink()
                put(file)
                refused += 1
                service.send_signal()
                await eventually(lambda: _count(service, REFUSED), refused)
                assert str(file) in service.lines()[-1]["fault"]
                assert (await service.get("/livez"))[0] == 200
            file.unlink()
            file.write_bytes(content)
        assert keys_told(await service.reload()) == []
        assert (await service.post("acme", [JANE], task="t")).status == 200


async def test_what_needs_a_restart_is_named_and_kept_while_the_rest_takes_effect(service):
    async with service.running():
        service.sections["server"]["port"] = service.port + 1
        service.sections["store"]["path"] = str(service.folder / "elsewhere.db")
        service.sections["server"]["max_body_bytes"] = 2000
        news = await service.reload()
        waiting = [line["setting"] for line in news if line["event"] == "configuration.needs_restart"]
        assert waiting == ["server.port", "store.path"]
        assert keys_told(news) == ["server.max_body_bytes"]
        users = [f"{number}@example.com" for number in range(100)]
        assert (await service.post("acme", users, task="large")).status == 413
        assert (await service.post("acme", [JANE], task="small")).status == 200
    assert not (service.folder / "elsewhere.db").exists()


async def test_an_account_comes_goes_and_finds_its_changes_again(service, cordial):
    async with service.running():
        assert (await service.post("shop", [JANE], task="early")).status == 403
        service.accounts["shop"] = {}
        assert (await service.reload())[-1]["added"] == ["shop"]
        assert (await service.post("shop", [JANE], task="first", segment="Shoppers")).status == 200
        await eventually(lambda: _members(cordial, "Shoppers"), [JANE])

        # What it owes when it goes is kept, shown, and sent when it is back.
        cordial.faults.add(Fault(FaultKind.ANSWER, contact=f"email:{JOHN}", times=None, status=503))
        assert (await service.post("shop", [JOHN], task="second", segment="Shoppers")).status == 200
        await eventually(lambda: _owed(service, "shop"), 1)
        del service.accounts["shop"]
        assert (await service.reload())[-1]["removed"] == ["shop"]
        refusal = await service.post("shop", [JANE], task="third", segment="Shoppers")
        unknown = await service.post("never-heard-of", [JANE], task="third")
        assert (refusal.status, refusal.text) == (403, unknown.text)
        shop = (await service.account_documents())["shop"]
        assert (shop["state"], shop["pending"] + shop["waiting"]) == ("not_configured", 1)
        assert await service.get("/readyz") == (200, '{"status":"ready","degraded":[]}')
        status, history = await service.ask("history")
        assert (status, history["samples"][0]["backlog"]) == (200, 0)
        ended = await service.run("status", "--config", str(service.config))
        assert "shop: not in the configuration" in ended.output

        cordial.faults.clear()
        service.accounts["shop"] = {}
        await service.reload()
        await eventually(lambda: _members(cordial, "Shoppers"), [JANE, JOHN])
        await eventually(lambda: _owed(service, "shop"), 0)


async def test_secrets_in_files_are_read_anew_at_once(service, cordial):
    async with service.running():
        assert (await service.post("acme", [JANE], task="one")).status == 200
        await eventually(lambda: _members(cordial, "ActiveUsers"), [JANE])
        service.secret_file.write_text("another secret")
        (service.folder / "api-key").write_text("another api key")
        assert keys_told(await service.reload()) == []
        assert (await service.post("acme", [JOHN], task="two", secret="another secret")).status == 200
        assert (await service.post("acme", [JOHN], task="three", secret=WEBHOOK_SECRET)).status == 403
        assert (await service.ask("accounts", key="another api key"))[0] == 200
        assert (await service.ask("accounts", key=API_KEY))[0] == 401


async def test_the_log_changes_its_level_and_form(service):
    async with service.running():
        service.sections["log"] |= {"level": "warning"}
        service.write()
        service.send_signal()
        # "configuration.reloaded" is information as well, so it is the silence that tells.
        await eventually(lambda: _is_logged(service), False)
        service.sections["log"] = {"level": "info", "format": "console"}
        service.write()
        service.send_signal()
        await eventually(lambda: _contains(service, "configuration.reloaded"), True)


@pytest.mark.parametrize("account", ["changed", "removed"])
async def test_a_call_on_its_way_is_finished_with_the_settings_it_began_with(service, cordial, account):
    cordial.faults.add(Fault(FaultKind.HANG, contact=f"email:{JANE}", seconds=1.5))
    async with service.running():
        assert (await service.post("acme", [JANE], task="slow")).status == 200
        await eventually(lambda: _calls(cordial, JANE), 1)
        if account == "changed":
            service.accounts["acme"]["max_concurrency"] = 3
        else:
            service.accounts = {"shop": {}}
        await service.reload()
        assert await service.figures("settled", "pending") == [1, 0]
    assert await _calls(cordial, JANE) == 1
    assert cordial.state.members("ActiveUsers") == [JANE]


async def test_two_reloads_in_a_row_pass_the_time_of_the_last_call_on(service, cordial):
    service.accounts["acme"]["requests_per_second"] = 0.5
    async with service.running():
        assert (await service.post("acme", [JANE, JOHN], task="t")).status == 200
        await eventually(lambda: _has_called(cordial, 1), True)
        for dry_run in (True, False):
            service.accounts["acme"]["dry_run"] = dry_run
            await service.reload()
        await eventually(lambda: _has_called(cordial, 3), True)
    began = [call.arrived_at_seconds for call in cordial.journal.recent]
    assert min(later - earlier for earlier, later in pairwise(began)) > 1.9


async def test_sighups_in_a_row_during_start_and_during_stop_do_no_harm(service, cordial):
    cordial.faults.add(Fault(FaultKind.HANG, contact=f"email:{JANE}", seconds=1.0))
    service.write()
    starting = asyncio.create_task(_signal_while_it_starts(service))
    async with service.running():
        assert await starting > 0
        assert (await service.post("acme", [JANE], task="slow")).status == 200
        await eventually(lambda: _calls(cordial, JANE), 1)
        # The reload waits for the call on its way when the stop comes.
        service.accounts["acme"]["max_attempts"] = 9
        service.write()
        for _ in range(5):
            service.send_signal()
        service.send_signal(signal.SIGTERM)
        while service.process is not None and service.process.returncode is None:
            service.send_signal()
            await asyncio.sleep(0.02)
    assert cordial.state.members("ActiveUsers") == [JANE]
    assert await _calls(cordial, JANE) == 1


async def _count(service: Reloadable, event: str) -> int:
    return [line["event"] for line in service.lines()].count(event)


def _write_a_giant(file: Path) -> None:
    file.write_bytes(b"#" * 2_000_000)


async def _members(cordial: RunningSandbox, list_name: str) -> list[str]:
    try:
        return cordial.state.members(list_name)
    except KeyError:
        return []


async def _calls(cordial: RunningSandbox, user: str) -> int:
    """How many calls for the user have come, those still held included."""
    contact = f"email:{user}"
    ended = [call for call in cordial.journal.recent if call.contact == contact]
    return len(ended) + cordial.journal._in_flight.get(contact, 0)


async def _has_called(cordial: RunningSandbox, number: int) -> bool:
    return len(cordial.journal.recent) >= number


async def _owed(service: Reloadable, account: str) -> int:
    document = (await service.account_documents())[account]
    owed: int = document["pending"] + document["waiting"]
    return owed


async def _is_logged(service: Reloadable) -> bool:
    """Whether a page that is taken leaves its line in the log."""
    before = service.log.read_text().count("delivery.answered")
    assert (await service.post("acme", [JANE], task="t")).status == 200
    return service.log.read_text().count("delivery.answered") > before


async def _contains(service: Reloadable, text: str) -> bool:
    return text in service.log.read_text(encoding="utf-8")


async def _signal_while_it_starts(service: Reloadable) -> int:
    """Send SIGHUP from as soon as the program listens to it until it serves; return how often."""
    sent = 0
    async with asyncio.timeout(30):
        while not await _answers(service):
            if service.process is not None and _heeds_sighup(service.process.pid):
                service.send_signal()
                sent += 1
            await asyncio.sleep(0.01)
    return sent


async def _answers(service: Reloadable) -> bool:
    try:
        await service.get("/livez")
    except aiohttp.ClientError:
        return False
    return True


def _heeds_sighup(pid: int) -> bool:
    """Whether the process ignores or catches SIGHUP yet, as it does from its first lines on."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    masks = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigIgn", "SigCgt"))]
    return any(mask >> (signal.SIGHUP - 1) & 1 for mask in masks)


async def test_the_reload_command_tells_what_changed_or_what_is_wrong(service):
    async with service.running():
        service.accounts["acme"]["max_attempts"] = 7
        service.sections["server"]["port"] = service.port + 1
        service.write()
        # The command reads the same file, whose port is not the service's any more.
        here = {"HEAP_CORDIAL__SERVER__PORT": str(service.port)}
        arguments = ("reload", "--config", str(service.config))
        took = await run_command(*arguments, environment=service.environment | here)
        assert (took.status, took.output) == (
            0,
            "Changed: accounts.acme.max_attempts.\nRestart the service to change server.port.\n",
        )
        again = await run_command(*arguments, environment=service.environment | here)
        assert again.output.startswith("No change takes effect without a restart.\nRestart")
        (service.folder / "missing").mkdir()
        service.accounts["acme"]["heap_secret_file"] = str(service.folder / "missing")
        service.write()
        refused = await run_command(*arguments, environment=service.environment | here)
        assert (refused.status, refused.output) == (1, "")
        assert "nothing was changed: accounts.acme.heap_secret_file" in refused.errors
        _, audit = await service.ask("audit")
        assert [row["action"] for row in audit["items"]] == ["configuration.reload"] * 2
