"""Direct TLS: can the certificate serve, for how long, and who may read its key."""

import stat
from datetime import UTC, datetime

from service.commands.checks.findings import Findings
from service.config.settings import ServerSettings
from service.errors import ConfigurationError
from service.web.tls import TlsFiles, load_certificate

# What renews certificates by itself does so weeks before they end: this late, it has failed.
_SOON_DAYS = 14


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
            f"in {left.days} days; renew it, the service takes the new one up by itself"
        )
    else:
        findings.notes.append(f"certificate: it serves, and ends in {left.days} days")
    if files.key.stat().st_mode & stat.S_IROTH:
        findings.warnings.append(
            f"server.tls_key_file: {files.key} may be read by every user of this machine; chmod 600 it"
        )
    return findings
