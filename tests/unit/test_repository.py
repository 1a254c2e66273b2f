"""What the repository promises about itself: sizes, locks, packaging and the commands its documents name."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests import conftest

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PATHS = [str(document.relative_to(ROOT)) for document in DOCUMENTS]

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


# Locks


def locked(lock: Path) -> dict[str, str]:
    """Each locked package with what stands about it, up to the next."""
    entries = re.split(r"(?m)^(?=[a-z0-9])", text_of(lock))
    return {re.split(r"[=\s\[]", entry)[0]: entry for entry in entries if entry.strip()}


def version_in(entry: str) -> Version:
    return Version(re.split(r"==|\s", entry)[1])


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_locked_package_has_one_version_and_hashes(lock):
    packages = locked(lock)
    assert packages
    for name, entry in packages.items():
        assert re.match(rf"{re.escape(name)}(\[[\w,-]+\])?==\S+ ", entry), name
        assert "--hash=sha256:" in entry, name


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_locks_name_no_place_to_download_from(lock):
    assert not re.search(r"https?://|file:|@ |--(extra-)?index-url|--find-links|--trusted-host", text_of(lock))


def test_the_runtime_lock_fits_what_the_project_asks_for():
    packages = locked(ROOT / "requirements/runtime.lock")
    for dependency in map(Requirement, PROJECT["project"]["dependencies"]):
        assert version_in(packages[dependency.name]) in dependency.specifier, dependency.name


def test_what_is_tested_is_what_runs():
    runtime, development = locked(ROOT / "requirements/runtime.lock"), locked(ROOT / "requirements/dev.lock")
    assert {name: version_in(entry) for name, entry in runtime.items()} == {
        name: version_in(development[name]) for name in runtime
    }


# Packaging


def test_a_built_package_holds_every_file_that_the_service_uses(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "service", source / "service", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    program = f"from setuptools.build_meta import build_wheel; build_wheel({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", program], cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    # Notes for those who work on the service stay behind.
    files = {
        str(path.relative_to(source))
        for path in (source / "service").rglob("*")
        if path.is_file() and path.suffix != ".md" and not path.name.startswith(".")
    }
    assert files - packed == set()
    assert {name.split("/")[0] for name in packed} == {"service", wheel.name.rsplit("-", 3)[0] + ".dist-info"}


# What the documents tell people to run


def code_in(markdown: str) -> str:
    fenced = re.findall(r"(?ms)^\s*```[^\n]*\n(.*?)^\s*```", markdown)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^\s*```.*?^\s*```", "", markdown))
    return "\n".join([*fenced, *inline])


def make_targets_in(markdown: str) -> set[str]:
    return set(re.findall(r"(?m)(?:^|[\s;&|])make (?:[A-Z_]+=\S+ )*([a-z][a-z-]*)", code_in(markdown)))


def commands_in(markdown: str) -> set[str]:
    return set(
        re.findall(r"(?m)(?:^|\s|bin/)(?:heap-cordial|-m service) (?!heap-cordial )([a-z][a-z-]*)", code_in(markdown))
    )


def test_what_documents_tell_to_run_is_found():
    markdown = "make sure\n\n`make demo`\n\n```sh\n$ make ARGS=1 bench && make test\npython -m service serve -x\n```\n"
    markdown += "Run `.venv/bin/heap-cordial check`; heap-cordial is good.\n"
    markdown += "`docker exec heap-cordial heap-cordial status`, `make -C /opt/heap-cordial install`\n"
    assert make_targets_in(markdown) == {"demo", "bench", "test"}
    assert commands_in(markdown) == {"serve", "check", "status"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=PATHS)
def test_every_make_target_in_the_documents_exists(document):
    targets = set(re.findall(r"(?m)^([a-z][a-z-]*):", text_of(ROOT / "Makefile")))
    assert make_targets_in(text_of(document)) <= targets


def test_the_files_that_are_to_begin_first_exist():
    assert [path for path in conftest.FIRST if not (ROOT / path).exists()] == []


def test_every_command_in_the_documents_exists():
    asked = [sys.executable, "-m", "service", "--help"]
    usage = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"(?m)^    ([a-z][a-z-]*)", usage))
    named = {path: commands_in(text_of(document)) for path, document in zip(PATHS, DOCUMENTS, strict=True)}
    table = re.findall(r"(?m)^\| (`.*?) \|", text_of(ROOT / "docs/commands.md"))
    listed = set(re.findall(r"`([a-z]+)", " ".join(table)))
    assert listed == known
    assert {name: commands - known for name, commands in named.items() if commands - known} == {}


def test_every_target_that_make_help_lists_is_declared_phony():
    makefile = text_of(ROOT / "Makefile")
    listed = set(re.findall(r"(?m)^([a-z][a-z-]*):.*##", makefile))
    (phony,) = re.findall(r"(?m)^\.PHONY: (.*)$", makefile)
    assert listed <= set(phony.split())


def test_direct_dependencies_are_explained():
    explained = text_of(ROOT / "docs/dependencies.md")
    names = [Requirement(line).name for line in PROJECT["project"]["dependencies"]]
    names += [Requirement(line).name for line in PROJECT["dependency-groups"]["dev"]]
    assert [name for name in names if f"`{name}`" not in explained] == []


# Statements


def test_numbered_parameters_are_in_no_statement():
    """Python 3.12 takes `?1` for a name, and warns where its value comes in a sequence: use `?` or `:name`."""
    files = [file for folder in ("service", "tests", "benchmarks", "tools") for file in (ROOT / folder).rglob("*")]
    statements = [file for file in files if file.suffix in {".py", ".sql"} and file != Path(__file__)]
    assert [file.name for file in statements if re.search(r"[=(, ]\?[1-9]\b", text_of(file))] == []
