"""`docs/licences.md` names every package that is installed with the service, with the licence that it declares."""

import re
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements/runtime.lock").read_text(encoding="utf-8")
LOCKED = dict(re.findall(r"(?m)^([a-z0-9._-]+)==(\S+)", LOCK))
DOCUMENT = (ROOT / "docs/licences.md").read_text(encoding="utf-8")
LISTED = {
    name: (version, licence) for name, version, licence in re.findall(r"\| `(\S+)` \| (\S+) \| (.+) \|", DOCUMENT)
}
ALLOWED = {"MIT", "MPL-2.0", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "PSF-2.0"}
# How packages say it that do not use the standard's names yet.
OTHER_WORDS = {
    "Apache 2.0": {"Apache-2.0"},
    "License :: OSI Approved :: Apache Software License": {"Apache-2.0"},
    "License :: OSI Approved :: BSD License": {"BSD-2-Clause", "BSD-3-Clause"},
    "License :: OSI Approved :: MIT License": {"MIT"},
    "License :: OSI Approved :: Python Software Foundation License": {"PSF-2.0"},
}


def names_in(expression: str) -> set[str]:
    return set(re.split(r" AND | OR ", expression))


def declared_by(package: str) -> set[str]:
    described = metadata.metadata(package)
    classifiers = [each for each in described.get_all("Classifier") or [] if each.startswith("License")]
    words = described.get_all("License-Expression") or described.get_all("License") or classifiers
    return set().union(*(OTHER_WORDS.get(each, names_in(each)) for each in words))


def test_the_packages_listed_are_those_locked():
    assert {name: version for name, (version, _) in LISTED.items()} == LOCKED


@pytest.mark.parametrize("package", LISTED)
def test_a_licence_is_the_one_declared_and_among_those_allowed(package):
    listed = names_in(LISTED[package][1])
    assert listed <= ALLOWED
    assert listed <= declared_by(package)


def test_what_is_vendored_has_its_licence_beside_it():
    folder = ROOT / "service/observe/swagger/vendor"
    assert "Apache License" in (folder / "LICENSE.txt").read_text(encoding="utf-8")
    assert "`service/observe/swagger/vendor`" in DOCUMENT
