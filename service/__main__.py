"""The commands: `python -m service …`, also installed as `heap-cordial …`."""

import argparse
import importlib
import sys
from collections.abc import Sequence

# Each module has `register(subparsers)`, which adds its parser and sets the default `run`: (namespace) -> exit status.
_COMMAND_MODULES = (
    "service.commands.serve",
    "service.sandbox.demo",
    "service.sandbox.command",
    "service.sandbox.sender",
    "service.commands.check",
    "service.commands.status",
    "service.commands.looking",
    "service.commands.steering",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status of the process."""
    parser = argparse.ArgumentParser(prog="heap-cordial", description="Keeps Cordial lists equal to Heap segments.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in _COMMAND_MODULES:
        importlib.import_module(name).register(subparsers)
    namespace = parser.parse_args(arguments)
    status: int = namespace.run(namespace)
    return status


if __name__ == "__main__":
    sys.exit(main())
