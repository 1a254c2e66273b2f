import msgspec
import pytest

from service.sandbox.faults import Fault, FaultKind
from service.sandbox.options import DEFAULT_API_KEY
from tests.command_fixtures import API_KEY, ROOT, WEBHOOK_SECRET, Installation, eventually, run_command

USERS = ("jane.roe@example.com", "john.doe@example.com", "bad.one@example.com", "undefined")
ID_TOKEN = "id-token-for-acme-only"


async def test_serve_says_what_the_shipped_configuration_lacks():
    ended = await run_command("serve", "--config", str(ROOT / "config.toml"))
    assert (ended.status, ended.output) == (2, "")
    assert ended.errors == (
        "accounts: no account is configured; uncomment [accounts.acme] in config.toml and set heap_secret_file and "
        "cordial_api_key_file (or heap_secret_env and cordial_api_key_env)\n"
        f"The configuration is {ROOT / 'config.toml'}. If it is the wrong one, give another with --config FILE.\n"
    )


async def test_serve_runs_on_environment_variables_alone_until_sigterm(installation):
    async with installation.serving():
        assert await installation.get("/livez") == (200, '{"status":"alive"}')
        await eventually(lambda: installation.get("/readyz"), (200, '{"status":"ready","degraded":[]}'))
        status, page = await installation.get("/docs")
        assert (status, "swagger-ui" in page) == (200, True)
        status, document = await installation.get("/openapi.json")
        assert (status, msgspec.json.decode(document)["info"]["title"]) == (200, "heap-cordial")
    # `serving` has sent SIGTERM and seen the exit status 0.
    events = [msgspec.json.decode(line)["event"] for line in installation.log.read_text().splitlines()]
    assert events[-2:] == ["service.stopping", "service.stopped"]


async def test_serve_does_not_start_on_a_store_in_use(installation):
    async with installation.serving():
        ended = await installation.run("serve")
    assert ended.status == 1
    line = msgspec.json.decode(ended.errors.splitlines()[-1])
    assert (line["event"], "in use by another process" in line["reason"]) == ("service.not_started", True)


@pytest.mark.parametrize("level", ["info", "debug"])
async def test_the_log_is_json_and_holds_neither_secrets_nor_users(tmp_path, cordial, level):
    installation = Installation(tmp_path, cordial.url, LOG__LEVEL=level, ACCOUNTS__ACME__MAX_ATTEMPTS="1")
    installation.environment["HEAP_CORDIAL__ACCOUNTS__ACME__HEAP_ID_TOKEN"] = ID_TOKEN
    refusal = '{"error":true,"messages":{"email":["bad.one@example.com is not an email"]}}'
    cordial.faults.add(
        Fault(FaultKind.ANSWER, contact="email:bad.one@example.com", times=None, status=422, body=refusal),
        Fault(FaultKind.ANSWER, contact="email:jane.roe@example.com", status=500),
        Fault(FaultKind.RESET, contact="email:john.doe@example.com"),
    )
    async with installation.serving():
        sent = await installation.deliver("Active Users", USERS, task="task-1", id_token=ID_TOKEN)
        assert (sent.status, '"rejected":1' in sent.text) == (200, True)
        await eventually(lambda: installation.figures("settled", "waiting", "pending", "dead"), [2, 0, 0, 1])
        assert (await installation.deliver("Active Users", USERS, task="task-2", id_token="other")).status == 403
        cordial.faults.add(Fault(FaultKind.ANSWER, status=401))
        sent = await installation.deliver("Active Users", remove=USERS[:1], task="task-3", id_token=ID_TOKEN)
        await eventually(lambda: installation.figures("settled", "waiting", "pending", "dead"), [1, 0, 0, 1])
    text = installation.log.read_text(encoding="utf-8")
    lines = [msgspec.json.decode(line) for line in text.splitlines()]
    assert {"service.started", "delivery.answered", "account.stopped", "account.resumed"} <= {
        line["event"] for line in lines
    }
    hidden = [*USERS[:3], API_KEY, WEBHOOK_SECRET, "nguessable", DEFAULT_API_KEY, ID_TOKEN]
    assert [word for word in hidden if word in text] == []


async def test_send_posts_pages_to_a_running_service(installation, cordial):
    csv = installation.folder / "ids.csv"
    csv.write_text("id\njane.roe@example.com\njohn.doe@example.com\n")
    where = ("--url", installation.webhook, "--segment", "Active Users")
    signed = ("--secret-file", str(installation.secret_file))
    async with installation.serving():
        ended = await installation.run("send", *where, *signed, "--file", str(csv), "--page-size", "1")
        assert ended.status == 0, ended.errors
        assert [line.split(": ")[0] for line in ended.output.splitlines()] == ["page 1 of 2", "page 2 of 2"]
        await eventually(lambda: installation.figures("settled"), [2])
        ended = await installation.run("send", *where, *signed, "--remove", "jane.roe@example.com")
        assert ended.status == 0, ended.errors
        await eventually(lambda: installation.figures("settled"), [1])
        again = await installation.run("send", *where, *signed, "--add", "jo@example.com", "--task", "task-9", "--json")
        page = msgspec.json.decode(again.output)
        assert (page["sync_task_id"], page["page_number"], page["total_pages"], page["status"]) == ("task-9", 1, 1, 200)
        assert (page["answer"]["status"], page["answer"]["added"]) == ("accepted", 1)
        await eventually(lambda: installation.figures("settled"), [2])
        refused = ("--secret-file", str(installation.key_file))
        ended = await installation.run("send", *where, *refused, "--add", "a@example.com", "--attempts", "1")
        assert (ended.status, "403" in ended.output) == (1, True)
        ended = await installation.run("send", *where, *refused, "--add", "a@example.com", "--attempts", "1", "--json")
        page = msgspec.json.decode(ended.output)
        assert (ended.status, page["status"], page["answer"]["error"]["code"]) == (1, 403, "forbidden")
    assert cordial.state.members("ActiveUsers") == ["jo@example.com", "john.doe@example.com"]
