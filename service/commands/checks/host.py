"""This host: the store's file system, and who may read the secrets."""

import os
import shutil
from pathlib import Path

from service.commands.checks.findings import Findings
from service.config import loading
from service.config.settings import Settings
from service.store.sqlite import opening

_LEAST_FREE_BYTES = 100_000_000
_BYTES_PER_GB = 1_000_000_000


def check_secrets(settings: Settings) -> Findings:
    """Look for secrets that cannot be read, and for those that too many can."""
    return Findings(faults=loading.secret_faults(settings), warnings=loading.secret_warnings(settings))


async def check_store(path: Path) -> Findings:
    """Look whether the store at `path` can be used or made, and what room there is for it."""
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        return Findings(faults=[f"store.path: {folder} is a file; the store needs a folder there"])
    if not os.access(folder, os.W_OK):
        return Findings(
            faults=[f"store.path: the folder {folder} cannot be written; let the service's user write there"]
        )
    findings = Findings()
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < _LEAST_FREE_BYTES:
        findings.faults.append(f"store.path: only {free_bytes // 1_000_000} MB are free at {folder}; make room")
    else:
        findings.notes.append(f"store: {path} can be written, {free_bytes / _BYTES_PER_GB:.1f} GB are free")
    if path.exists():  # noqa: ASYNC240
        if not os.access(path, os.W_OK):
            findings.faults.append(f"store.path: {path} cannot be written; let the service's user write it")
        try:
            await (await opening.open_reader(path)).close()
        except opening.StoreOpenError as error:
            findings.faults.append(f"store.path: {error}")
    return findings
