"""The `init` command: a new installation's configuration and secrets, asked for on a terminal or given by flags."""

import argparse
import getpass
import sys
from pathlib import Path
from typing import Any

import msgspec

from service.commands.initial.advice import advice
from service.commands.initial.answers import Answers
from service.commands.initial.files import InitialFiles, InitialFilesError
from service.commands.outgoing import local_address_towards
from service.commands.terminal import one_line, say
from service.config.settings import SecretReference
from service.errors import ConfigurationError

_DEFAULTS = {
    "account": "acme",
    "url": "https://your-host",
    "cordial_base_url": "https://api.cordial.io",
    "identify_by": "email",
}
_QUESTIONS = {
    "account": "Name of the account, as it will stand in addresses",
    "url": "Address under which Heap reaches this service",
    "cordial_base_url": "Cordial's API (https://api.usw2.cordial.io if your pages are at usw2.admin.cordial.io)",
    "identify_by": 'What Heap\'s user ids are in Cordial: "email" or the name of a secondary key',
}


def register(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "init",
        help="write a configuration and secret files for a new installation",
        description="Asks on a terminal for what no flag gives; elsewhere takes the defaults. Secrets are never given as "
        "arguments, which other users of the machine could read, but typed unseen, or taken from a file or a variable.",
    )
    parser.add_argument("--directory", type=Path, default=Path(), help="where the files go (default: here)")
    parser.add_argument("--account", help=f"the account's name (default {_DEFAULTS['account']})")
    parser.add_argument("--url", help="where the world reaches the service, e.g. https://sync.example.com")
    parser.add_argument("--cordial-base-url", help=f"Cordial's API (default {_DEFAULTS['cordial_base_url']})")
    parser.add_argument("--identify-by", help="email (the default), or the name of a Cordial secondary key")
    parser.add_argument(
        "--dry-run",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="write nothing to Cordial at first (default), or send at once",
    )
    for name, words in (("heap-secret", "Heap's webhook secret"), ("cordial-api-key", "the Cordial API key")):
        places = parser.add_mutually_exclusive_group()
        places.add_argument(f"--{name}-file", metavar="FILE", help=f"take {words} from a file; - is standard input")
        places.add_argument(f"--{name}-env", metavar="VARIABLE", help=f"take {words} from an environment variable")
    parser.add_argument("--force", action="store_true", help="replace config.toml if there is one; never a secret")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    try:
        answers = _gather(arguments, asks=sys.stdin.isatty())
        files = InitialFiles(arguments.directory, answers.account)
        written = files.write(answers, force=arguments.force)
    except (ConfigurationError, InitialFilesError, OSError, LookupError) as error:
        for line in str(error).splitlines():
            print(one_line(line), file=sys.stderr)  # noqa: T201  a command speaks to its terminal
        return 2 if isinstance(error, ConfigurationError) else 1
    except (KeyboardInterrupt, EOFError):
        print("\nNothing was written.", file=sys.stderr)  # noqa: T201
        return 130
    say(*(f"wrote {path}" for path in written))
    say(*advice(answers, files, local_address_towards(answers.cordial_base_url)))
    return 0


def _gather(arguments: argparse.Namespace, *, asks: bool) -> Answers:
    given: dict[str, str] = {}
    for name, question in _QUESTIONS.items():
        flag = getattr(arguments, name)
        given[name] = flag if flag is not None else _ask(question, _DEFAULTS[name]) if asks else _DEFAULTS[name]
    answers = Answers(**given, dry_run=arguments.dry_run)
    if asks:
        say("", f"The webhook URL to paste into Heap is {answers.webhook_url}; Heap then shows its secret.")
    return msgspec.structs.replace(
        answers,
        heap_secret=_secret(arguments, "heap_secret", "Heap's webhook secret", asks=asks),
        cordial_api_key=_secret(arguments, "cordial_api_key", "Cordial API key", asks=asks),
    )


def _ask(question: str, default: str) -> str:
    return input(f"{question} [{default}]: ").strip() or default


def _secret(arguments: argparse.Namespace, name: str, words: str, *, asks: bool) -> str:
    """Return a secret from where the flags say, or as it is typed; empty if it is to be put in later."""
    file, variable = getattr(arguments, f"{name}_file"), getattr(arguments, f"{name}_env")
    if file == "-":
        return sys.stdin.readline().removesuffix("\n")
    if file is not None or variable is not None:
        return SecretReference(environment=variable, file=file).read()
    if asks:
        return getpass.getpass(f"{words} (not shown; Enter to put it in later): ")
    return ""
