"""The Containerfile as data: stages, each a list of instructions with their arguments."""

import json
import re
from pathlib import Path
from string import Template
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
CONTAINERFILE = ROOT / "Containerfile"


class Instruction(NamedTuple):
    """One instruction, continued lines joined: `COPY` with `--from=build /opt/venv /opt/venv`."""

    name: str
    argument: str


class Stage(NamedTuple):
    """What stands between one FROM and the next; `base` as written, with its variables."""

    name: str
    base: str
    instructions: list[Instruction]

    def arguments(self, name: str) -> list[str]:
        """Return the arguments of every instruction with this name."""
        return [each.argument for each in self.instructions if each.name == name]

    def pairs(self, name: str) -> dict[str, str]:
        """Return the variables or labels that all instructions with this name set, as written."""
        return {key: value for argument in self.arguments(name) for key, value in parse_pairs(argument).items()}


class Containerfile(NamedTuple):
    """`arguments`: what ARG gives before the first FROM, with the default values."""

    arguments: dict[str, str]
    stages: list[Stage]

    def base_of(self, stage: Stage) -> str:
        """Return the image a stage begins with, its variables replaced."""
        return Template(stage.base).substitute(self.arguments)


def read_containerfile(path: Path = CONTAINERFILE) -> Containerfile:
    """Read the file; raises `ValueError` when something stands where it means nothing."""
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for instruction in _instructions(path.read_text(encoding="utf-8")):
        if instruction.name == "FROM":
            base, _, name = instruction.argument.partition(" AS ")
            stages.append(Stage(name, base, []))
        elif stages:
            stages[-1].instructions.append(instruction)
        elif instruction.name == "ARG":
            arguments |= parse_pairs(instruction.argument)
        else:
            raise ValueError(f"{instruction.name} before the first FROM")
    return Containerfile(arguments, stages)


def parse_pairs(argument: str) -> dict[str, str]:
    """Return the pairs of `A=1 B="two words"`; raises `ValueError` for anything else."""
    pair = r'([\w.-]+)=("[^"]*"|[^\s"]*)'
    if not re.fullmatch(rf"{pair}(\s+{pair})*", argument):
        raise ValueError(f"these are not pairs: {argument}")
    return {key: value.strip('"') for key, value in re.findall(pair, argument)}


def parse_command(argument: str) -> list[str]:
    """Return the words of a command in exec form, `["program", "argument"]`."""
    command = json.loads(argument)
    if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
        raise ValueError(f"not in exec form: {argument}")
    return command


def parse_health_check(argument: str) -> list[str]:
    """Return the words of the command of a HEALTHCHECK, whose options count for an engine only."""
    return parse_command(argument.partition("CMD ")[2])


def _instructions(text: str) -> list[Instruction]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    parts = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    return [Instruction(name, argument) for name, argument in parts]
