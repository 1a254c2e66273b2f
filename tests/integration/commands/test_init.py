"""A new installation: files written once, for their owner alone, and good enough to start the service with."""

import asyncio
import os
import pty
import stat
import sys
import tomllib
from pathlib import Path

import pytest

from service.config import loading
from service.sandbox.options import DEFAULT_API_KEY
from tests.command_fixtures import ROOT, Ended, clean_environment, run_command

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


async def test_it_writes_what_the_service_starts_with(tmp_path, cordial):
    folder = tmp_path / "new"
    ended = await init(folder, *FROM_VARIABLES, "--cordial-base-url", cordial.url, **SECRETS)
    assert (ended.status, ended.errors) == (0, "")
    settings = loading.load(folder / "config.toml", {})
    acme = settings.accounts["acme"]
    assert (acme.dry_run, acme.cordial_base_url, acme.identify_by) == (True, cordial.url, "email")
    assert [reference.read() for reference in acme.heap_secrets] == [HEAP_SECRET]
    assert len(settings.server.api_keys[0].read()) == 48
    assert mode(folder / "secrets") == 0o700
    assert {mode(path) for path in (folder / "secrets").iterdir()} == {0o600}
    assert settings.store.path == str(folder / "data" / "heap-cordial.db")
    checked = await run_command("check", "--config", str(folder / "config.toml"))
    assert (checked.status, checked.errors) == (0, "")


async def test_it_says_what_is_left_to_do_and_shows_no_secret(tmp_path):
    ended = await init(tmp_path, "--url", "https://sync.example.com/", "--account", "shop", *FROM_VARIABLES, **SECRETS)
    assert "webhook URL       https://sync.example.com/webhooks/heap/shop\n" in ended.output
    for permission in ("Get lists", "Add a list", "Update a contact", "Add a contact import job", "Get a single job"):
        assert permission in ended.output
    assert f"heap-cordial check --config {tmp_path}/config.toml\n" in ended.output
    api_key = (tmp_path / "secrets" / "api-key").read_text().strip()
    assert not [secret for secret in (*SECRETS.values(), api_key) if secret in ended.output]
    assert api_key not in (tmp_path / "config.toml").read_text()


async def test_secrets_can_be_put_in_later(tmp_path):
    ended = await init(tmp_path)
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["api-key"]
    assert f"put it into {tmp_path}/secrets/acme-heap-secret\n" in ended.output
    checked = await run_command("check", "--config", str(tmp_path / "config.toml"))
    assert "acme-cordial-api-key cannot be read: No such file or directory" in checked.errors


async def test_nothing_that_is_there_is_overwritten(tmp_path):
    await init(tmp_path, *FROM_VARIABLES, **SECRETS)
    (tmp_path / "config.toml").write_text("# mine")
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    again = await init(tmp_path)
    assert (again.status, again.errors) == (
        1,
        f"{tmp_path}/config.toml exists and is left alone; --force replaces it\n",
    )
    with_secret = await init(tmp_path, "--force", "--heap-secret-env", "HEAP", HEAP="another")
    assert with_secret.status == 1
    assert "acme-heap-secret exists, and a secret is never replaced; remove the file first" in with_secret.errors
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
        (("--identify-by", "customer number"), "accounts.acme.identify_by"),
        (("--cordial-base-url", "http://api.cordial.io"), "http is for this machine alone"),
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
                ("Name of the account", "shop"),
                ("Heap reaches this service", "https://sync.example.com"),
                ("Cordial's API", f"{CORDIAL}/v2"),
                ("user ids are in Cordial", "custID"),
                ("Heap's webhook secret", HEAP_SECRET),
                ("Cordial API key", ""),
            ):
                while prompt not in screen or not screen.rstrip("\n").endswith(": "):
                    screen += await asyncio.to_thread(lambda: os.read(ours, 10_000).decode())
                os.write(ours, f"{typed}\n".encode())
                screen += "\n"
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
