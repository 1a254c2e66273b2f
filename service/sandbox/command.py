"""The command `sandbox`: only the stand-in Cordial, until it is told to stop."""

import argparse
import asyncio
import signal
from typing import Any

from service.commands.arguments import add_command, add_json_option
from service.commands.terminal import FAILED, fail, tell
from service.errors import in_words
from service.sandbox.deviations import Deviation
from service.sandbox.options import DEFAULT_API_KEY, SandboxOptions
from service.sandbox.server import running_sandbox


def register(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the program's parser."""
    parser = add_command(
        subparsers,
        "sandbox",
        "run a stand-in Cordial on this machine",
        ("sandbox --port 8081 --rate 25", "sandbox --port 0 --json"),
        description="A stand-in for Cordial's API: in memory, on this machine, with a page that shows its lists.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument(
        "--port", type=int, default=8081, help="port to listen on; 0 takes a free one (default %(default)s)"
    )
    parser.add_argument("--key", default=DEFAULT_API_KEY, help="the API key it accepts (default %(default)s)")
    parser.add_argument(
        "--rate",
        type=_not_negative,
        default=50,
        help="calls per second per endpoint; 0 is unlimited (default %(default)s)",
    )
    parser.add_argument(
        "--latency-ms",
        type=_not_negative,
        default=0,
        metavar="MS",
        help="how long each call takes, at least (default 0)",
    )
    parser.add_argument(
        "--error-rate",
        type=_share,
        default=0,
        metavar="SHARE",
        help="share of calls that fail at random, 0 to 1 (default 0)",
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same random failures (default 0)")
    parser.add_argument(
        "--otherwise",
        action="append",
        default=[],
        choices=[deviation.value for deviation in Deviation],
        metavar="POINT",
        help="differ from Cordial's documents in this point; repeatable: " + ", ".join(Deviation),
    )
    parser.add_argument("--journal", action="store_true", help="keep every call for GET /sandbox/calls?all=1")
    add_json_option(parser, "where it listens, as one JSON document, before it serves")
    parser.set_defaults(run=_run)


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _run(arguments: argparse.Namespace) -> int:
    options = SandboxOptions(
        api_key=arguments.key,
        rate=arguments.rate,
        latency_ms=arguments.latency_ms,
        error_rate=arguments.error_rate,
        seed=arguments.seed,
        journal=arguments.journal,
        deviations=frozenset(Deviation(each) for each in arguments.otherwise),
    )
    try:
        asyncio.run(_serve_until_told(options, arguments))
    except (OSError, OverflowError) as trouble:
        fail(arguments, FAILED, f"cannot listen on {arguments.host} port {arguments.port}: {in_words(trouble)}")
        return 1
    return 0


async def _serve_until_told(options: SandboxOptions, arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running_sandbox(options, arguments.host, arguments.port) as sandbox:
        tell(
            arguments,
            {"url": f"{sandbox.url}/", "api_key": options.api_key},
            f"stand-in Cordial: {sandbox.url}/",
            f"API key: {options.api_key}",
            "Ctrl-C stops it.",
        )
        await stop.wait()
