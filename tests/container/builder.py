"""An interpreter of the instructions that the Containerfile uses; one it does not know ends the build."""

import functools
import os
import shutil
import subprocess
from pathlib import Path
from string import Template
from typing import NamedTuple

from tests.container.confinement import run_in
from tests.container.containerfile import (
    ROOT,
    Containerfile,
    Instruction,
    parse_command,
    parse_health_check,
    parse_pairs,
)
from tests.container.context import context_files
from tests.container.package_access import PackageAccess, package_access

# What official images set, and an engine's own default.
_BASE_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_MAX_SHOWN_CHARACTERS = 3_000


class BuildError(Exception):
    """An instruction failed or is not known; the message holds what it said."""


class Image(NamedTuple):
    """A built root, and what the instructions said about running it."""

    root: Path
    environment: dict[str, str]
    labels: dict[str, str]
    directory: str
    user: str
    volumes: list[str]
    health_check: list[str]
    entrypoint: list[str]
    command: list[str]


def build(containerfile: Containerfile, base: Path, folder: Path) -> Image:
    """Build every stage below `folder`, each on a copy of `base`, and return the last one.

    Raises `BuildError`, and `UnprovableError` without access to packages.
    """
    builder = _Builder()
    images = []
    for number, stage in enumerate(containerfile.stages):
        root = folder / f"stage-{number}"
        subprocess.run(["cp", "--archive", "--reflink=auto", str(base), str(root)], check=True)  # noqa: S607  as found
        image = Image(root, dict(_BASE_ENVIRONMENT), {}, "/", "0:0", [], [], [], [])
        for instruction in stage.instructions:
            image = builder.carry_out(instruction, image)
        builder.images[stage.name] = image
        images.append(image)
    return images[-1]


class _Builder:
    """Carries out instructions that change files; what they copy and how they reach packages is found once."""

    def __init__(self) -> None:
        self.images: dict[str, Image] = {}
        self._context = context_files()

    @functools.cached_property
    def _access(self) -> PackageAccess:
        return package_access()

    def carry_out(self, instruction: Instruction, image: Image) -> Image:
        name, argument = instruction
        if name == "RUN":
            self._run(argument, image)
        elif name == "COPY":
            self._copy(argument, image)
        elif name == "WORKDIR":
            (image.root / argument.lstrip("/")).mkdir(parents=True, exist_ok=True)
        return _described(instruction, image)

    def _run(self, script: str, image: Image) -> None:
        ended = run_in(
            image.root,
            ["/bin/sh", "-c", script],
            image.environment | self._access.variables,
            directory=image.directory,
            user=image.user,
            lend=self._access.paths,
        )
        if ended.returncode:
            said = ended.stdout[-_MAX_SHOWN_CHARACTERS:]
            raise BuildError(f"RUN {script}\nended with status {ended.returncode}:\n{said}")

    def _copy(self, argument: str, image: Image) -> None:
        options = [word for word in argument.split() if word.startswith("--")]
        *sources, destination = [word for word in argument.split() if not word.startswith("--")]
        target = image.root / os.path.normpath(Path(image.directory, destination)).lstrip("/")
        if not options:
            for source in sources:
                self._copy_from_repository(source, target, to_directory=destination.endswith("/"))
            return
        [stage] = [option.removeprefix("--from=") for option in options]
        [source] = sources
        shutil.copytree(self.images[stage].root / source.lstrip("/"), target, symlinks=True, dirs_exist_ok=True)

    def _copy_from_repository(self, source: str, target: Path, *, to_directory: bool) -> None:
        wanted = Path(source)
        if wanted in self._context:
            places = {wanted: target / wanted.name if to_directory else target}
        else:
            places = {path: target / path.relative_to(wanted) for path in self._context if wanted in path.parents}
        if not places:
            raise BuildError(f"COPY {source}: it is not in the repository, or kept out of the image")
        for path, place in places.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, place)


def _described(instruction: Instruction, image: Image) -> Image:
    """Return the image with what the instruction says about running it."""
    name, argument = instruction
    match name:
        case "ENV":
            variables = {
                key: Template(value).substitute(image.environment) for key, value in parse_pairs(argument).items()
            }
            changes: dict[str, object] = {"environment": image.environment | variables}
        case "LABEL":
            changes = {"labels": image.labels | parse_pairs(argument)}
        case "VOLUME":
            changes = {"volumes": [*image.volumes, argument]}
        case "WORKDIR" | "USER":
            changes = {{"WORKDIR": "directory", "USER": "user"}[name]: argument}
        case "ENTRYPOINT" | "CMD":
            changes = {{"ENTRYPOINT": "entrypoint", "CMD": "command"}[name]: parse_command(argument)}
        case "HEALTHCHECK":
            changes = {"health_check": parse_health_check(argument)}
        case "RUN" | "COPY" | "EXPOSE":
            changes = {}
        case _:
            raise BuildError(f"this proof cannot carry out {name} {argument}")
    return Image(**(image._asdict() | changes))
