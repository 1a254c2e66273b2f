"""The commands: `python -m service …`, also installed as `heap-cordial …`."""

import codecs
import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from service import __version__
from service.commands.signals import SIGNALS

if TYPE_CHECKING:
    from argparse import Namespace

    from service.commands.arguments import Parser

# Each module has `register(subparsers)`, which adds its parsers and sets their default `run`: (namespace) -> exit status.
_MODULE_OF = {
    "serve": "service.commands.serve",
    "demo": "service.sandbox.demo",
    "sandbox": "service.sandbox.command",
    "send": "service.sandbox.sender",
    "init": "service.commands.init",
    "check": "service.commands.check",
    "status": "service.commands.status",
    "lists": "service.commands.looking",
    "syncs": "service.commands.looking",
    "imports": "service.commands.looking",
    "failures": "service.commands.looking",
    "deliveries": "service.commands.looking",
    "conditions": "service.commands.looking",
    "audit": "service.commands.looking",
    "why": "service.commands.looking",
    "preview": "service.commands.looking",
    "export": "service.commands.exporting",
    "pause": "service.commands.steering",
    "resume": "service.commands.steering",
    "retry": "service.commands.steering",
    "verify": "service.commands.comparing",
    "compare": "service.commands.comparing",
    "rebuild": "service.commands.steering",
    "reload": "service.commands.steering",
    "approve": "service.commands.steering",
    "discard": "service.commands.steering",
    "backup": "service.commands.backup",
    "restore": "service.commands.backup",
    "trial": "service.commands.trial",
    "forget": "service.commands.forgetting",
    "notices": "service.commands.notices",
    "completion": "service.commands.completion",
}

_INTERRUPTED = 130
# EX_IOERR of sysexits.h.
_OUTPUT_LOST = 74
_ESCAPED = "heap_cordial_escaped"

# Shows all commands to the shell.
_NEEDS_ALL = "completion"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status of the process."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    _open_standard_streams()
    if given[:1] == ["serve"]:
        SIGNALS.listen()
    codecs.register_error(_ESCAPED, _escape)
    for stream in (sys.stdout, sys.stderr):
        # Names hold any character, and terminals do not.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ESCAPED)
    # Loading what one command needs takes half a second, which a restart after a crash need not spend on the others.
    asked = _MODULE_OF.get(given[0]) if given and given[0] != _NEEDS_ALL else None
    parser = make_parser([asked] if asked else _MODULE_OF.values())
    # Loaded by now.
    from service.commands.terminal import OutputError, ReaderGoneError, complain, print_commands_with, writing  # noqa: PLC0415

    parser.given = given
    if empty := _empty_argument(given):
        parser.error(f"{empty} is empty: give it a value, or leave it out")
    try:
        try:
            namespace = parser.parse_args(given)
            if foreign := _foreign_argument(namespace, given):
                parser.error(foreign)
            print_commands_with(getattr(namespace, "config", None))
            status: int = namespace.run(namespace)
        except KeyboardInterrupt:
            status = _INTERRUPTED
        finally:
            # Not once the interpreter ends, where nobody catches what that raises.
            with writing("standard output"):
                sys.stdout.flush()
    except OutputError as error:
        with contextlib.suppress(OutputError):
            complain(str(error))
        _drop_what_is_left()
        status = _OUTPUT_LOST
    except (ReaderGoneError, BrokenPipeError):
        # As other programs end where the reader of a pipe has gone, but only after the command has tidied up.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.raise_signal(signal.SIGPIPE)
        raise
    return status


def make_parser(modules: Iterable[str] = _MODULE_OF.values()) -> "Parser":
    """Return what understands the commands of these modules."""
    # Only now, so that a stop that is asked for meanwhile is heard.
    import importlib  # noqa: PLC0415

    from service.commands.arguments import Parser  # noqa: PLC0415

    parser = Parser(prog="heap-cordial", description="Keeps Cordial lists equal to Heap segments.")
    parser.add_argument("--version", action="version", version=f"heap-cordial {__version__}")
    parser.set_defaults(parser=parser)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in dict.fromkeys(modules):
        importlib.import_module(module).register(subparsers)
    return parser


def _empty_argument(given: Sequence[str]) -> str:
    """Return what to call the first argument that is empty, as an unset variable of a script is; empty if none is.

    It never stands for "all": `retry --account "$ACCOUNT"` would send the failures of every account again.
    """
    for position, argument in enumerate(given):
        if argument.startswith("--") and argument.find("=") == len(argument) - 1:
            return argument.removesuffix("=")
        if not argument:
            before = given[position - 1] if position else ""
            return before if before.startswith("--") else f"argument {position + 1}"
    return ""


def _foreign_argument(namespace: "Namespace", given: Sequence[str]) -> str:
    """Return what to say of the first argument that is no text in this session's encoding; empty if all are.

    Names and user ids are text, so whatever is asked for with such a one is not found, or asked in words that are no JSON.
    The path of a file may be any bytes.
    """
    for value in vars(namespace).values():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and not text.isascii() and any("\udc80" <= each <= "\udcff" for each in text):
                position = next(place for place, argument in enumerate(given, start=1) if argument.endswith(text))
                shown = os.fsencode(text).decode("ascii", "backslashreplace")
                return (
                    f"argument {position} is not written in this session's encoding, {sys.getfilesystemencoding()}: {shown}. "
                    "Set the terminal and the locale to UTF-8, as with LC_ALL=C.UTF-8, and type it again"
                )
    return ""


def _drop_what_is_left() -> None:
    """Throw away what cannot be written, which the interpreter would try once more at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            descriptor = os.open(os.devnull, os.O_WRONLY)
            os.dup2(descriptor, stream.fileno())
            os.close(descriptor)


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Write what an encoding lacks as JSON does, so that a document of JSON stays one."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)), error.end


def _open_standard_streams() -> None:
    """Put nothing in the place of each standard stream that whoever started us has closed.

    Else a file of the store gets its number, and a library that writes to standard error writes into that file.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest number that is free, which is this one.
            descriptor = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
