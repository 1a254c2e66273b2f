"""The command `notices test`: tries the targets of notices, whether the service runs or not."""

import argparse
import asyncio
import os
import time
from datetime import UTC, datetime
from typing import Any

from service.commands.arguments import add_command, add_json_option
from service.commands.client import add_config_option, fail_by_configuration, which_configuration
from service.commands.terminal import FAILED, fail, say, say_json
from service.config import loading
from service.config.settings import NoticeSettings
from service.errors import ConfigurationError
from service.observe.notices.message import Message
from service.observe.notices.notices import try_to_send
from service.observe.notices.targets import make_target


def register(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    example = "notices test --target ops --config config.toml"
    parser = add_command(subparsers, "notices", "test the targets of notices", (example,))
    add_config_option(parser)
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    test = add_command(actions, "test", "send a test to each target", (example,))
    add_config_option(test, is_action=True)
    test.add_argument("--target", help="only to this target")
    add_json_option(test, "one JSON document a line for each target")
    test.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    try:
        targets = loading.load(arguments.config, os.environ).notices
    except ConfigurationError as error:
        return fail_by_configuration(arguments, error)
    chosen = {name: each for name, each in targets.items() if arguments.target in {None, name}}
    if not chosen:
        known = f"its targets are {', '.join(sorted(targets))}" if targets else "it has none; add [notices.NAME]"
        wanted = "target to test" if arguments.target is None else f"target {arguments.target}"
        words = f"The configuration has no {wanted}: {known}."
        fail(arguments, FAILED, words, which_configuration(arguments.config))
        return 1
    return asyncio.run(_test(chosen, as_json=arguments.json))


async def _test(targets: dict[str, NoticeSettings], *, as_json: bool) -> int:
    message = Message("test", datetime.now(UTC), [], [])
    key = f"heap-cordial-test-{time.time_ns()}"
    faults = await asyncio.gather(*(try_to_send(make_target(each), key, message) for each in targets.values()))
    for name, fault in zip(targets, faults, strict=True):
        if as_json:
            say_json({"target": name, "sent": not fault, "fault": fault})
        else:
            say(f"{name}: {fault or 'the test was sent'}")
    return 1 if any(faults) else 0
