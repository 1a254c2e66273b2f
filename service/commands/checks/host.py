"""This host: the store's file system, who may read the secrets, and how the service is reached."""

import os
import shutil
import stat
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from service.commands.checks.findings import Findings
from service.config import loading
from service.config.accounts import is_loopback
from service.config.settings import ServerSettings, Settings
from service.errors import ConfigurationError
from service.observe.notices.targets import NoticeError, make_target
from service.store.sqlite import opening
from service.store.sqlite.files import StoreOpenError, describe_sqlite
from service.web.tls import TlsFiles, load_certificate

_LEAST_FREE_BYTES = 100_000_000
_BYTES_PER_GB = 1_000_000_000
# What renews certificates by itself does so weeks before they end: this late, it has failed.
_SOON_DAYS = 14
# Made by Docker and by Podman. There the address is the container's own, and who reaches it is decided outside.
CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))


def check_secrets(settings: Settings) -> Findings:
    """Look for secrets that cannot be read, and for those that too many can."""
    return Findings(faults=loading.secret_faults(settings), warnings=loading.secret_warnings(settings))


def check_notices(settings: Settings) -> Findings:
    """Look whether notices can be sent, as far as that shows without sending any."""
    findings = Findings()
    unreadable = loading.secret_faults(settings)
    for name, target in settings.notices.items():
        where = f"notices.{name}"
        if any(fault.startswith(f"{where}.") for fault in unreadable):
            continue  # told already
        try:
            make_target(target).check()
        except NoticeError as error:
            findings.faults.append(f"{where}: {error}")
        else:
            findings.notes.append(f"{where}: nothing was sent; `heap-cordial notices test --target {name}` does")
    return findings


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
    findings.notes.append(describe_sqlite())
    if path.exists():  # noqa: ASYNC240
        if not os.access(path, os.W_OK):
            findings.faults.append(f"store.path: {path} cannot be written; let the service's user write it")
        try:
            await (await opening.open_reader(path)).close()
        except StoreOpenError as error:
            findings.faults.append(f"store.path: {error}")
    return findings


def check_certificate(server: ServerSettings) -> Findings:
    """Prove the certificate and its key; nothing is found where the service speaks plain HTTP."""
    files = TlsFiles.of(server)
    if files is None:
        return Findings()
    try:
        certificate = load_certificate(files)
    except ConfigurationError as error:
        return Findings(faults=error.faults)
    findings = Findings()
    left = certificate.expires_at - datetime.now(UTC)
    if left.days < _SOON_DAYS:
        findings.warnings.append(
            f"server.tls_certificate_file: {files.certificate} ends on {certificate.expires_at:%Y-%m-%d}, "
            f"in {left.days} days; renew it. The service uses the new one by itself"
        )
    else:
        findings.notes.append(f"certificate: it works, and ends in {left.days} days")
    if files.key.stat().st_mode & stat.S_IROTH:
        findings.warnings.append(
            f"server.tls_key_file: {files.key} can be read by every user of this machine; run chmod 600 on it"
        )
    return findings


def check_exposure(server: ServerSettings, container_marks: Iterable[Path] = CONTAINER_MARKS) -> Findings:
    """Warn where whoever shares the network with this host can read API keys and people's ids on their way."""
    if server.tls_certificate_file or is_loopback(server.host) or any(mark.exists() for mark in container_marks):
        return Findings()
    warning = (
        f"server.host: {server.host} is open to the network, and without a certificate API keys and users' ids cross it in "
        'clear text; set host = "127.0.0.1" with a proxy on this machine, or tls_certificate_file and tls_key_file'
    )
    return Findings(warnings=[warning])
