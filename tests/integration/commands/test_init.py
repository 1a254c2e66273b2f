"""A new installation: files written once, for their owner alone, and good enough to start the service with."""

import asyncio
import json
import os
import pty
import re
import shlex
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from service.config import loading
from service.model.guard import RemovalGuard
from service.sandbox.options import DEFAULT_API_KEY
from tests.command_fixtures import ROOT, Ended, clean_environment, eventually, run_command
from tests.document_fixtures import README, blocks, section
from tests.ports import free_port
from tests.tls_fixtures import make_pair

CORDIAL = "https://127.0.0.1:9"
HEAP_SECRET = "whsec ünguessable"
SECRETS = {"HEAP": HEAP_SECRET, "CORDIAL": DEFAULT_API_KEY}
FROM_VARIABLES = ("--heap-secret-env", "HEAP", "--cordial-api-key-env", "CORDIAL")


async def init(folder: Path, *arguments: str, **variables: str) -> Ended:
    environment = clean_environment() | variables
    # Not even the name of Cordial's own host is looked up.
    where = ("--directory", str(folder), "--cordial-base-url", CORDIAL)
    return await run_command("init", *where, *arguments, environment=environment)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def check(config: Path) -> Ended:
    """Run `check` for a port where nobody listens: at the usual one, another test's service may."""
    elsewhere = {"HEAP_CORDIAL__SERVER__PORT": str(free_port())}
    return await run_command("check", "--config", str(config), environment=clean_environment() | elsewhere)


async def test_it_writes_what_the_service_starts_with(tmp_path, cordial):
    folder = tmp_path / "new"
    ended = await init(folder, *FROM_VARIABLES, "--cordial-base-url", cordial.url, **SECRETS)
    assert (ended.status, ended.errors) == (0, "")
    settings = loading.load(folder / "config.toml", {})
    acme = settings.accounts["acme"]
    assert (acme.dry_run, acme.cordial_base_url, acme.identify_by) == (True, cordial.url, "email")
    assert acme.public_url == ""
    assert [reference.read() for reference in acme.heap_secrets] == [HEAP_SECRET]
    assert len(settings.server.api_keys[0].read()) == 48
    assert mode(folder / "secrets") == 0o700
    assert {mode(path) for path in (folder / "secrets").iterdir()} == {0o600}
    assert settings.store.path == str(folder / "data" / "heap-cordial.db")
    checked = await check(folder / "config.toml")
    assert (checked.status, checked.errors) == (0, "")


async def test_programs_are_told_what_was_written_and_what_to_do_next(tmp_path):
    ended = await init(tmp_path, "--url", "https://sync.example.com", "--json", *FROM_VARIABLES, **SECRETS)
    told = json.loads(ended.output)
    assert told["webhook_url"] == "https://sync.example.com/webhooks/heap/acme"
    # The dashboard shows this address to whoever sets Heap up, and not the one of their browser.
    assert loading.load(tmp_path / "config.toml", {}).accounts["acme"].public_url == "https://sync.example.com"
    names = {Path(each).name for each in told["written"]}
    assert names == {"acme-heap-secret", "acme-cordial-api-key", "api-key", "config.toml"}
    assert "approve 'SEGMENT' --config" in told["steps"][-2]["command"]


@pytest.mark.parametrize(
    ("flag", "is_on"), [((), True), (("--hold-removals",), True), (("--no-hold-removals",), False)]
)
async def test_unusual_removals_are_held_unless_it_is_told_otherwise(tmp_path, flag, is_on):
    assert (await init(tmp_path, *FROM_VARIABLES, *flag, **SECRETS)).status == 0
    guard = loading.load(tmp_path / "config.toml", {}).accounts["acme"].hold_removals
    assert guard == RemovalGuard(share=0.5 if is_on else 1.0, least=100)


async def test_it_says_what_is_left_to_do_and_shows_no_secret(tmp_path):
    ended = await init(tmp_path, "--url", "https://sync.example.com/", "--account", "shop", *FROM_VARIABLES, **SECRETS)
    assert "webhook URL       https://sync.example.com/webhooks/heap/shop\n" in ended.output
    for permission in ("Get lists", "Add a list", "Update a contact", "Add a contact import job", "Get a single job"):
        assert permission in ended.output
    assert f"heap-cordial check --config {tmp_path}/config.toml\n" in ended.output
    dashboard = f"http://127.0.0.1:8080/ on this machine. The API key to sign in is in {tmp_path}/secrets/api-key.\n"
    assert ended.output.endswith(dashboard)
    assert 'host = "127.0.0.1"\n' in (tmp_path / "config.toml").read_text()
    api_key = (tmp_path / "secrets" / "api-key").read_text().strip()
    assert not [secret for secret in (*SECRETS.values(), api_key) if secret in ended.output]
    assert api_key not in (tmp_path / "config.toml").read_text()


def test_answers_that_are_piped_in_are_not_ignored_without_a_word(tmp_path):
    command = (sys.executable, "-m", "service", "init", "--directory", str(tmp_path / "new"))
    ended = subprocess.run(
        command, cwd=ROOT, env=clean_environment(), input="shop\n", capture_output=True, text=True, check=True
    )
    assert ended.stderr == (
        "Nothing is asked here, so what standard input holds is not read. Give the answers as options: see init --help.\n"
    )
    assert list(loading.load(tmp_path / "new" / "config.toml", {}).accounts) == ["acme"]


async def test_secrets_can_be_put_in_later(tmp_path):
    ended = await init(tmp_path)
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["api-key"]
    assert f"put it into {tmp_path}/secrets/acme-heap-secret\n" in ended.output
    checked = await check(tmp_path / "config.toml")
    assert "acme-cordial-api-key cannot be read: No such file or directory" in checked.errors


async def test_nothing_that_is_there_is_overwritten(tmp_path):
    await init(tmp_path, *FROM_VARIABLES, **SECRETS)
    (tmp_path / "config.toml").write_text("# mine")
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    again = await init(tmp_path)
    assert (again.status, again.errors) == (
        1,
        f"{tmp_path}/config.toml exists and was not changed; --force replaces it\n",
    )
    with_secret = await init(tmp_path, "--force", "--heap-secret-env", "HEAP", HEAP="another")
    assert with_secret.status == 1
    assert "acme-heap-secret exists, and init never replaces a secret; delete the file first" in with_secret.errors
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files
    forced = await init(tmp_path, "--force", "--no-dry-run")
    assert forced.output.splitlines()[0] == f"wrote {tmp_path}/config.toml"
    assert not loading.load(tmp_path / "config.toml", {}).accounts["acme"].dry_run
    for path in (tmp_path / "secrets").iterdir():
        assert path.read_bytes() == files[path]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--account", "../up"), "an account's name must be"),
        (("--account", 'a"]\n[server]'), "an account's name must be"),
        (("--account", "Acme Shop"), "for example acme-shop"),
        (
            ("--url", "sync.example.com"),
            "--url: must be a URL such as https://sync.example.com: it must start with https://",
        ),
        (("--url", "https://127.0.0.1"), "must be a URL that Heap can reach"),
        (("--cordial-base-url", "https://admin.cordial.io"), "its API is at https://api.cordial.io"),
        (("--cordial-base-url", "https://usw2.admin.cordial.io/"), "its API is at https://api.usw2.cordial.io"),
        (("--identify-by", "auto"), "identities"),
        (("--tls-key-file", "key.pem"), "--tls-certificate-file and --tls-key-file belong together"),
        (("--identify-by", "customer number"), "--identify-by: "),
        (("--cordial-base-url", "http://api.cordial.io"), "http is allowed only on this machine"),
    ],
)
async def test_answers_that_cannot_be_are_told_and_nothing_is_written(tmp_path, arguments, words):
    ended = await init(tmp_path / "new", *arguments, *FROM_VARIABLES, **SECRETS)
    assert (ended.status, words in ended.errors) == (2, True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_the_dialogue_on_a_terminal(tmp_path):
    """Typed by hand: names are echoed, secrets are not."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service", "init", "--directory", str(tmp_path),
        cwd=ROOT, env=clean_environment(), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    screen = ""
    try:
        async with asyncio.timeout(60):
            for prompt, typed in (
                ("Name of the account", "Acme Shop"),
                ("for example acme-shop", "shop"),
                ("Heap reaches this service", "sync.example.com"),
                ("it must start with https://", "https://sync.example.com/webhooks/heap/shop"),
                ("without the path of a webhook: https://sync.example.com", "https://sync.example.com"),
                ("Cordial's API", "https://sync.example.com/"),
                ("not that of this service", "https://usw2.admin.cordial.io"),
                ("its API is at https://api.usw2.cordial.io", f"{CORDIAL}/v2"),
                ("user ids are in Cordial", "customer number"),
                ("must be ", "custID"),
                ("more than half of a list", "perhaps"),
                ("answer yes or no", "n"),
                ("Heap's webhook secret", f"{HEAP_SECRET} "),
                ("Cordial API key", ""),
            ):
                shown = ""
                while prompt not in " ".join(shown.split()) or not shown.endswith(": "):
                    shown += await asyncio.to_thread(lambda: os.read(ours, 10_000).decode())
                os.write(ours, f"{typed}\n".encode())
                screen += f"{shown}\n"
            while process.returncode is None:
                try:
                    screen += await asyncio.to_thread(lambda: os.read(ours, 10_000).decode())
                except OSError:  # the other side is closed
                    await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)
    assert process.returncode == 0, screen
    assert "https://sync.example.com/webhooks/heap/shop; Heap then shows its secret." in screen
    assert HEAP_SECRET not in screen
    assert (tmp_path / "secrets" / "shop-heap-secret").read_text() == HEAP_SECRET + "\n"
    written = tomllib.loads((tmp_path / "config.toml").read_text())["accounts"]["shop"]
    assert (written["identify_by"], written["cordial_base_url"]) == ("custID", f"{CORDIAL}/v2")


async def test_nobody_types_for_nothing_where_there_is_a_configuration_already(tmp_path):
    (tmp_path / "config.toml").write_text("# mine")
    ended = await run_command("init", "--directory", str(tmp_path))
    assert (ended.status, ended.output) == (1, "")


async def test_a_certificate_makes_it_listen_for_everybody(tmp_path):
    certificate = make_pair(tmp_path, "own")
    files = ("--tls-certificate-file", str(certificate.certificate), "--tls-key-file", str(certificate.key))
    assert (await init(tmp_path, *files)).status == 0
    server = loading.load(tmp_path / "config.toml", {}).server
    assert (server.host, server.tls_certificate_file, server.tls_key_file) == ("0.0.0.0", files[1], files[3])  # noqa: S104  what is to be expected


def words_of(commands: str) -> list[list[str]]:
    """Return the words of each command, wherever the program is."""
    joined = re.sub(r"\S*/bin/heap-cordial", "heap-cordial", commands.replace("\\\n", ""))
    return [shlex.split(line) for line in joined.splitlines() if line]


async def test_the_printed_commands_lead_from_the_dry_run_to_the_live_list(tmp_path, cordial):
    """Each is typed as it was printed, in another folder than the files'; only the ports are the test's."""
    folder = tmp_path / "new place"
    written = await run_command(
        "init", "--directory", str(folder), "--cordial-base-url", cordial.url, *FROM_VARIABLES,
        environment=clean_environment() | SECRETS,
    )  # fmt: skip
    config = folder / "config.toml"
    port = free_port()
    config.write_text(config.read_text().replace("port = 8080", f"port = {port}"))
    commands = [line.strip() for line in re.findall(r"(?m)^     \S.*$", written.output)]
    check, serve, lists, preview, end_dry_run, trial, approve, verify = [
        line.replace("SEGMENT", "Active Users") for line in commands
    ]
    # Those of the README, after `make install` and `init`, are the same.
    shown = words_of("".join(blocks(section(README, "Set it up"), "sh")[2:]))
    shown = [[word.replace("/srv/heap-cordial", str(folder)) for word in command] for command in shown]
    typed_one_by_one = "\n".join(commands).replace("SEGMENT", "Active Users").replace(" && ", "\n")
    assert shown == words_of(typed_one_by_one)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    async def typed(command: str) -> Ended:
        process = await asyncio.create_subprocess_exec(
            "bash", "-euo", "pipefail", "-c", command, cwd=elsewhere, env=clean_environment(),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, errors = await process.communicate()
        assert process.returncode is not None
        return Ended(process.returncode, output.decode(), errors.decode())

    assert (await typed(check)).status == 0
    service = await asyncio.create_subprocess_exec(
        "bash", "-c", f"exec {serve}", cwd=elsewhere, env=clean_environment(), stderr=asyncio.subprocess.DEVNULL
    )
    try:

        async def looked() -> bool:
            return (await typed(lists)).status == 0

        await eventually(looked, expected=True)
        ids = tmp_path / "ids"
        ids.write_text("jane@example.com\njohn@example.com\n")
        sent = await run_command(
            "send", "--url", f"http://127.0.0.1:{port}/webhooks/heap/acme", "--secret-file",
            str(folder / "secrets" / "acme-heap-secret"), "--segment", "Active Users", "--file", str(ids),
        )  # fmt: skip
        assert sent.status == 0, sent.errors

        async def owed() -> str:
            return (await typed(preview)).output

        while "2 to add" not in await owed():
            assert service.returncode is None
        assert (await typed(verify)).status == 1
        ended = await typed(end_dry_run)
        assert (ended.status, ended.output) == (0, "Changed: accounts.acme.dry_run.\n")
        tried = await typed(f"{trial} --yes")
        assert "call creates" in tried.output, tried.output
        assert "ActiveUsers" not in cordial.state.lists_by_name
        approved = await typed(approve)
        assert (approved.status, approved.output) == (0, "Active Users is approved and will be sent.\n")

        async def verified() -> int:
            return (await typed(verify)).status

        await eventually(verified, 0)
        assert cordial.state.members("ActiveUsers") == ["jane@example.com", "john@example.com"]
    finally:
        service.terminate()
        assert await service.wait() == 0
