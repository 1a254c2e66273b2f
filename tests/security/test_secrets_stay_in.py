"""Secrets are in the service's memory and nowhere else; the store's files are its owner's alone."""

import argparse
import importlib
import re
from pathlib import Path

import aiohttp

from service.__main__ import _MODULE_OF
from service.sandbox.options import DEFAULT_API_KEY
from service.sandbox.server import running_sandbox
from tests.api_fixtures import authorization
from tests.command_fixtures import API_KEY, WEBHOOK_SECRET, Installation

SECRETS = [secret.encode() for secret in (API_KEY, WEBHOOK_SECRET, DEFAULT_API_KEY)]
# What a stolen API key could ask.
QUESTIONS = ["accounts", "lists", "lists/1", "syncs", "failures", "failures/groups", "audit", "lists/1/members/a@x.com"]


def found_in(text: bytes) -> list[bytes]:
    return [secret for secret in SECRETS if secret in text]


async def test_secrets_show_nowhere_outside_the_process(tmp_path):
    async with running_sandbox() as cordial:
        installation = Installation(tmp_path, cordial.url, LOG__LEVEL="debug")
        async with installation.serving() as process:
            assert (await installation.deliver("S", ("a@x.com", "not an address"), task="t")).status == 200
            async with aiohttp.ClientSession(headers=authorization(API_KEY)) as session:
                async with session.post(f"{installation.webhook}?token=x", data=b"{}") as refused:
                    assert refused.status in {400, 415}
                for question in QUESTIONS:
                    async with session.get(f"{installation.url}/api/v1/{question}") as answer:
                        assert answer.status in {200, 404}, question
                        assert found_in(await answer.read()) == []
            for path in ("/openapi.json", "/metrics", "/docs"):
                assert found_in((await installation.get(path))[1].encode()) == []
            system = Path(f"/proc/{process.pid}")
            for name in ("cmdline", "environ"):
                assert found_in((system / name).read_bytes()) == []
            store = list(installation.database.parent.iterdir())
            assert {file.stat().st_mode & 0o777 for file in store} == {0o600}
            assert len(store) >= 3
            for file in store:
                assert found_in(file.read_bytes()) == []
    log = installation.log.read_bytes()
    assert found_in(log) == []
    assert b"a@x.com" not in log
    assert b"delivery.answered" in log


def test_no_command_takes_a_secret_as_an_argument():
    subparsers = argparse.ArgumentParser().add_subparsers()
    for module in set(_MODULE_OF.values()) - {"service.sandbox.command"}:
        importlib.import_module(module).register(subparsers)
    options = {
        (command, option)
        for command, parser in subparsers.choices.items()
        for action in parser._actions
        for option in action.option_strings
    }
    secrets = {(command, option) for command, option in options if re.search(r"secret|key|password", option)}
    assert ("send", "--secret-file") in secrets
    assert {each for each in secrets if not each[1].endswith(("-file", "-env"))} == set()
