"""The `check` command: is everything in place for the service to do its work. It changes nothing, here or in Cordial."""

import argparse
import asyncio
import os
from pathlib import Path
from typing import Any

from service.commands.arguments import add_command, add_json_option
from service.commands.checks.cordial import check_account
from service.commands.checks.findings import Findings
from service.commands.checks.host import check_certificate, check_exposure, check_notices, check_secrets, check_store
from service.commands.checks.service import check_service
from service.commands.client import add_config_option, fail_by_configuration, local_url
from service.commands.terminal import complain, counted, say, say_document
from service.config import loading
from service.config.settings import Settings
from service.errors import ConfigurationError
from service.model.lists import Segment
from service.store.sqlite.files import StoreOpenError
from service.store.sqlite.loading import read_segments_of


def register(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "check",
        "check configuration, store, Cordial and the running service, changing nothing",
        ("check --config config.toml", "check --config config.toml --json"),
        description="Checks the configuration, this machine and each Cordial account, and sends a signed sample page "
        "through the running service as a dry run. One line for each fault; status 1 if there is any.",
    )
    add_config_option(parser)
    parser.add_argument("--url", help="where the service runs; by default on this host, at the configured port")
    add_json_option(parser, "faults, warnings and notes as one JSON document")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    try:
        settings = loading.load(arguments.config, os.environ)
    except ConfigurationError as error:
        return fail_by_configuration(arguments, error)
    url = (arguments.url or local_url(settings.server)).rstrip("/")
    findings = asyncio.run(check(settings, url))
    if arguments.json:
        say_document(findings)
        return 1 if findings.faults else 0
    complain(*findings.faults, *(f"warning: {warning}" for warning in findings.warnings))
    if not findings.faults:
        say(*findings.notes)
        accounts = ", ".join(sorted(settings.accounts))
        warnings = counted(len(findings.warnings), "warning", "warnings")
        verdict = f"No fault, but {warnings}" if findings.warnings else "All is well"
        say(f"{verdict}: configuration, store, and Cordial's answer for {accounts}.")
    return 1 if findings.faults else 0


async def check(settings: Settings, url: str) -> Findings:
    """Return what is found; `url` is where the service runs, if it does. Writes nothing anywhere."""
    findings = check_secrets(settings)
    findings.add(check_notices(settings))
    findings.add(check_certificate(settings.server))
    findings.add(check_exposure(settings.server))
    store = Path(settings.store.path)
    findings.add(await check_store(store))
    segments = await _known_segments(store)
    for found in await asyncio.gather(
        *(
            check_account(account, [segment for segment in segments if segment.account == account.name])
            for account in settings.accounts.values()
        )
    ):
        findings.add(found)
    findings.add(await check_service(settings, url))
    return findings


async def _known_segments(store: Path) -> list[Segment]:
    try:
        return await read_segments_of(store)
    except StoreOpenError:
        return []  # none yet, or one of the store's faults
