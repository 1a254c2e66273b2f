"""Direct TLS: a certificate and its key, proved before they are used, and replaced while the service runs."""

import asyncio
import hashlib
import re
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import structlog

from service.config.files import read_small_file
from service.config.settings import ServerSettings
from service.errors import ConfigurationError

log = structlog.get_logger()

_LOOK_SECONDS = 2.0
_PEM_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_CERTIFICATE_KEY, _KEY_KEY = "server.tls_certificate_file", "server.tls_key_file"
# Each message of one side goes to the other; TLS 1.2 takes most, which is two rounds.
_MAX_HANDSHAKE_STEPS = 10


class TlsFiles(NamedTuple):
    """Where the certificate, with the chain behind it, and its private key stand."""

    certificate: Path
    key: Path

    @classmethod
    def of(cls, server: ServerSettings) -> "TlsFiles | None":
        """Return the files that are configured, None where the service speaks plain HTTP."""
        if not server.tls_certificate_file:
            return None
        return cls(Path(server.tls_certificate_file), Path(server.tls_key_file))


class Certificate(NamedTuple):
    """A certificate with its key, ready to serve, and when it ends (UTC)."""

    context: ssl.SSLContext
    expires_at: datetime


def load_certificate(files: TlsFiles) -> Certificate:
    """Return the pair in the files, after a handshake with itself has proved that it serves.

    Raises `ConfigurationError` with the key and what is wrong: not readable, not PEM, encrypted, not belonging together,
    expired, not valid yet, or not made for servers.
    """
    leaf = read_leaf(files.certificate)
    try:
        read_small_file(files.key)
    except OSError as error:
        raise ConfigurationError([f"{_KEY_KEY}: {files.key} cannot be read: {error.strerror}"]) from None
    context = _server_context()
    try:
        # Without the callback, OpenSSL would ask the terminal for the passphrase.
        context.load_cert_chain(files.certificate, files.key, password=_refuse_passphrase)
        return Certificate(context, _prove(context, leaf))
    except ssl.SSLCertVerificationError as error:
        raise ConfigurationError([f"{_CERTIFICATE_KEY}: {files.certificate}: {error.verify_message}"]) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            words = f"{_KEY_KEY}: {files.key} is not the key of the certificate in {files.certificate}"
        else:
            words = f"{_KEY_KEY}: {files.key} with {files.certificate} cannot be used together as PEM files"
        raise ConfigurationError([words]) from None


def read_leaf(path: Path) -> bytes:
    """Return the first certificate of a PEM file, which is the server's own, as DER. Raises `ConfigurationError`."""
    try:
        found = _PEM_CERTIFICATE.search(read_small_file(path).decode("ascii", errors="replace"))
        if found is not None:
            return ssl.PEM_cert_to_DER_cert(found.group())
        words = "holds no certificate in PEM form"
    except OSError as error:
        words = f"cannot be read: {error.strerror}"
    except ValueError:
        words = "is damaged: its certificate is not Base64"
    raise ConfigurationError([f"{_CERTIFICATE_KEY}: {path} {words}"])


def faults(server: ServerSettings) -> list[str]:
    """Return what keeps the pair that is configured from being used, one line each; nothing where none is."""
    files = TlsFiles.of(server)
    try:
        if files is not None:
            load_certificate(files)
    except ConfigurationError as error:
        return error.faults
    return []


def fingerprint(certificate: Path) -> bytes:
    """Return the SHA-256 of a PEM file's first certificate, to know a server by. Raises `ConfigurationError`."""
    return hashlib.sha256(read_leaf(certificate)).digest()


class ServedCertificate:
    """The certificate that new connections are shown; each connection keeps the one that it began with.

    A pair is proved as a whole and then exchanged at one blow: no connection ever meets a new certificate with an old key.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._seen = _signature(files)
        self._certificate = load_certificate(files)
        # Why what lies in the files now is not shown; empty where it is.
        self.fault: str = ""
        # For the listening socket; the pair comes from `_choose`, at each handshake.
        self.context = _server_context()
        self.context.sni_callback = self._choose

    @property
    def expires_at(self) -> datetime:
        """When the certificate ends (UTC)."""
        return self._certificate.expires_at

    def use(self, files: TlsFiles, certificate: Certificate) -> None:
        """Show this certificate from now on, and watch these files."""
        self._files, self._certificate, self.fault = files, certificate, ""
        self._seen = _signature(files)

    async def watch(self) -> None:
        """Take up what is put into the files, until cancelled; a pair that cannot serve is refused and the old one kept.

        Files are replaced one after the other, so a change is taken up once it has lasted from one look to the next.
        """
        changing = None
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            found = _signature(self._files)
            if found == self._seen:
                changing = None
            elif found != changing:
                changing = found
            else:
                self._take_up()

    def _take_up(self) -> None:
        files = self._files
        self._seen = _signature(files)
        try:
            self._certificate = load_certificate(files)
        except ConfigurationError as error:
            self.fault = "; ".join(error.faults)
            log.error("certificate.refused", fault=self.fault)  # noqa: TRY400  the fault says all
        else:
            self.fault = ""
            log.info("certificate.replaced", expires=self._certificate.expires_at.isoformat())

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._certificate.context


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _refuse_passphrase() -> str:
    raise ConfigurationError([f"{_KEY_KEY}: the key is encrypted; it must not need a passphrase"])


def _prove(server_context: ssl.SSLContext, leaf: bytes) -> datetime:
    """Shake hands in memory, with a client that trusts this certificate alone; return when the certificate ends."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Which names it is for is its clients' affair, and who issued it as well.
    client_context.check_hostname = False
    client_context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client_context.load_verify_locations(cadata=leaf)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    for _ in range(_MAX_HANDSHAKE_STEPS):
        waiting = [side for side in waiting if not _step(side)]
    described = client.getpeercert()
    if waiting or not described:
        raise ssl.SSLError(1, "the handshake did not end")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(described["notAfter"])), UTC)


def _step(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _signature(files: TlsFiles) -> tuple[tuple[int, int, int] | None, ...]:
    """Return what changes whenever one of the files is replaced or written, links followed."""
    return tuple(_identity(path) for path in files)


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
