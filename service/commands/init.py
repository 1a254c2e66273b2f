"""The `init` command: a new installation's configuration and secrets, asked for on a terminal or given by flags."""

import argparse
import getpass
import os
import re
import shlex
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

import msgspec

from service.commands.arguments import add_command, add_json_option
from service.commands.initial.advice import advice, steps
from service.commands.initial.files import DEFAULT_URL, Answers, InitialFiles, InitialFilesError
from service.commands.outgoing import local_address_towards
from service.commands.terminal import FAILED, USAGE, complain, fail, say, say_document, say_whole
from service.config.settings import SecretReference, ServerSettings
from service.errors import ConfigurationError, in_words
from service.web import tls

_PROGRAM = "heap-cordial"
_DEFAULTS = {
    "account": "acme",
    "url": DEFAULT_URL,
    "cordial_base_url": "https://api.cordial.io",
    "identify_by": "email",
}
_QUESTIONS = {
    "account": "Name of the account; it becomes part of the webhook URL",
    "url": "URL at which Heap reaches this service",
    "cordial_base_url": "Cordial's API (https://api.usw2.cordial.io if your pages are at usw2.admin.cordial.io)",
    "identify_by": 'What Heap\'s user ids are in Cordial: "email" or the name of a secondary key',
}


def register(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "init",
        "write a configuration and secret files for a new installation",
        (
            "init --directory /srv/heap-cordial",
            "init --directory /srv/heap-cordial --account acme --url https://sync.example.com",
        ),
        description="On a terminal, asks for what no flag gives and checks each answer. Otherwise, uses the "
        "defaults. Secrets are never given as arguments, which other users of the machine could read, but typed unseen, or "
        "taken from a file or a variable.",
    )
    # argparse breaks no group of alternatives, which is wider than narrow terminals.
    parser.usage = "%(prog)s [options]"
    parser.add_argument("--directory", type=Path, default=Path(), help="where the files go (default: here)")
    parser.add_argument("--store", type=Path, metavar="FILE", help="the store (default: data/heap-cordial.db there)")
    parser.add_argument("--account", help=f"the account's name (default {_DEFAULTS['account']})")
    parser.add_argument("--url", help="the URL at which Heap reaches the service, e.g. https://sync.example.com")
    parser.add_argument("--cordial-base-url", help=f"Cordial's API (default {_DEFAULTS['cordial_base_url']})")
    parser.add_argument("--identify-by", help="email (the default), or the name of a Cordial secondary key")
    parser.add_argument(
        "--dry-run",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="write nothing to Cordial at first (default), or send at once",
    )
    parser.add_argument(
        "--hold-removals",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="hold a sync that removes more than 100 people and more than half of a list (default), or hold none",
    )
    parser.add_argument(
        "--tls-certificate-file", metavar="FILE", help="serve HTTPS with this certificate, without a proxy"
    )
    parser.add_argument("--tls-key-file", metavar="FILE", help="the certificate's private key")
    for name, words in (("heap-secret", "Heap's webhook secret"), ("cordial-api-key", "the Cordial API key")):
        places = parser.add_mutually_exclusive_group()
        places.add_argument(f"--{name}-file", metavar="FILE", help=f"take {words} from a file; - is standard input")
        places.add_argument(f"--{name}-env", metavar="VARIABLE", help=f"take {words} from an environment variable")
    add_json_option(parser, "ask nothing; what was written and what to do next, as one JSON document")
    parser.add_argument("--force", action="store_true", help="replace config.toml if there is one; never a secret")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    try:
        # Before any question: nobody types for nothing.
        InitialFiles(arguments.directory, _DEFAULTS["account"]).refuse_existing(force=arguments.force)
        certificate = _certificate(arguments)
        asks = sys.stdin.isatty() and not arguments.json
        if not asks and _is_piped() and "-" not in {arguments.heap_secret_file, arguments.cordial_api_key_file}:
            complain(
                "Nothing is asked here, so what standard input holds is not read. Give the answers as options: see init --help."
            )
        answers, files = _gather(arguments, certificate, asks=asks)
        written = files.write(answers, force=arguments.force)
    except (ConfigurationError, InitialFilesError, OSError, LookupError) as error:
        is_usage = isinstance(error, ConfigurationError)
        fail(arguments, USAGE if is_usage else FAILED, *in_words(error).splitlines())
        return 2 if is_usage else 1
    except (KeyboardInterrupt, EOFError):
        complain("", "Nothing was written.")
        return 130
    if arguments.json:
        next_steps = [{"what": words, "command": command} for words, command in steps(answers, files, _program())]
        written_files = [str(path) for path in written]
        say_document({"written": written_files, "webhook_url": answers.webhook_url, "steps": next_steps})
        return 0
    say(*(f"wrote {path}" for path in written))
    say(*advice(answers, files, local_address_towards(answers.cordial_base_url)))
    for number, (words, command) in enumerate(steps(answers, files, _program()), start=1):
        say(f"{number:>3}. {words}")
        # Whole, so that it can be copied.
        say_whole(f"     {command}")
    scheme = "https" if answers.tls_certificate_file else "http"
    say(
        "",
        f"The dashboard is then at {scheme}://127.0.0.1:{ServerSettings().port}/ on this machine. The API key to sign in is in {files.api_key}.",
    )
    return 0


def _is_piped() -> bool:
    """Tell whether somebody sends something to standard input, as opposed to none or an empty one."""
    kind = os.fstat(sys.stdin.fileno()).st_mode
    return stat.S_ISFIFO(kind) or stat.S_ISREG(kind)


def _certificate(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the files of the certificate to serve with, if any; raises `ConfigurationError` if it cannot serve."""
    given = {name: getattr(arguments, name) or "" for name in ("tls_certificate_file", "tls_key_file")}
    if bool(given["tls_certificate_file"]) != bool(given["tls_key_file"]):
        raise ConfigurationError(["--tls-certificate-file and --tls-key-file belong together; give both or none"])
    if faults := tls.faults(msgspec.structs.replace(ServerSettings(), **given)):
        raise ConfigurationError(faults)
    return given


def _gather(arguments: argparse.Namespace, certificate: dict[str, str], *, asks: bool) -> tuple[Answers, InitialFiles]:
    answers = Answers(
        **_DEFAULTS, dry_run=arguments.dry_run, hold_removals=arguments.hold_removals is not False, **certificate
    )
    for name, question in _QUESTIONS.items():
        flag = getattr(arguments, name)
        if flag is not None:
            answers = msgspec.structs.replace(answers, **{name: flag})
            if fault := answers.fault():
                raise ConfigurationError([f"--{name.replace('_', '-')}: {fault}{_suggestion(name, flag)}"])
        elif asks:
            answers = _ask(answers, name, question)
    if asks and arguments.hold_removals is None:
        answers = msgspec.structs.replace(answers, hold_removals=_ask_to_hold_removals())
    files = InitialFiles(arguments.directory, answers.account, arguments.store)
    if asks:
        say("", f"The webhook URL to paste into Heap is {answers.webhook_url}; Heap then shows its secret.")
    return (
        msgspec.structs.replace(
            answers,
            heap_secret=_secret(arguments, "heap_secret", "Heap's webhook secret", files.heap_secret, asks=asks),
            cordial_api_key=_secret(arguments, "cordial_api_key", "Cordial API key", files.cordial_api_key, asks=asks),
        ),
        files,
    )


def _ask(answers: Answers, name: str, question: str) -> Answers:
    """Ask until the answer can be used; what is wrong with one is told at once."""
    while True:
        say(f"{question}:")
        typed = input(f"  [{_DEFAULTS[name]}]: ").strip() or _DEFAULTS[name]
        answered: Answers = msgspec.structs.replace(answers, **{name: typed})
        fault = answered.fault()
        if fault is None:
            return answered
        say(f"  {typed}: {fault}{_suggestion(name, typed)}")


def _ask_to_hold_removals() -> bool:
    question = "Hold a sync that removes more than 100 people and more than half of a list, until you approve it"
    while True:
        say(f"{question}:")
        typed = input("  [yes]: ").strip().lower() or "yes"
        if typed in {"y", "yes", "n", "no"}:
            return typed.startswith("y")
        say(f"  {typed}: answer yes or no")


def _suggestion(name: str, typed: str) -> str:
    if name != "account":
        return ""
    proposed = re.sub(r"[^a-z0-9]+", "-", typed.lower()).strip("-")[:64].strip("-")
    return f"; for example {proposed}" if proposed else ""


def _secret(arguments: argparse.Namespace, name: str, words: str, path: Path, *, asks: bool) -> str:
    """Return a secret from where the flags say, or as it is typed; empty if it is to be put in later."""
    file, variable = getattr(arguments, f"{name}_file"), getattr(arguments, f"{name}_env")
    if file == "-":
        return sys.stdin.readline().removesuffix("\n")
    if file is not None or variable is not None:
        return SecretReference(environment=variable, file=file).read()
    if asks and path.exists():
        say(f"{words}: {path} exists and is kept.")
    elif asks:
        return getpass.getpass(f"{words} (not shown; press Enter to add it later): ").strip()
    return ""


def _program() -> str:
    """Return how to call this program from the shell that called it."""
    own = Path(sys.executable).with_name(_PROGRAM)
    found = shutil.which(_PROGRAM)
    if found is not None and (not own.exists() or Path(found).resolve() == own.resolve()):
        return _PROGRAM
    return shlex.quote(str(own)) if own.exists() else f"{shlex.quote(sys.executable)} -m service"
