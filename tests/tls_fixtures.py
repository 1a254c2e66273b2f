"""Certificates made by the openssl command, and TLS clients to look at what a server shows."""

import asyncio
import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

LOCALHOST = "127.0.0.1"


class Pair(NamedTuple):
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path

    @property
    def der(self) -> bytes:
        return ssl.PEM_cert_to_DER_cert(self.certificate.read_text(encoding="ascii"))

    def put_at(self, place: "Pair") -> None:
        """Replace the files at another place by copies of these, one after the other, as tools that renew them do."""
        for source, target in zip(self, place, strict=True):
            draft = target.with_suffix(".draft")
            draft.write_bytes(source.read_bytes())
            draft.replace(target)


def make_pair(folder: Path, name: str, *, days: int = 30, extension: str = "subjectAltName=IP:127.0.0.1") -> Pair:
    """Make a self-signed certificate for this machine."""
    pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
    _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", pair.key, "-out", pair.certificate, "-subj", f"/CN={name}", "-days", days, "-addext", extension),
    )
    pair.key.chmod(0o600)
    return pair


def make_dated_pair(folder: Path, name: str, start: str, end: str) -> Pair:
    """Make a certificate that is valid between two moments such as 20200101000000Z."""
    key = make_pair(folder, name).key
    request, certificate = folder / f"{name}.csr", folder / f"{name}.dated.crt"
    _openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
    (folder / "index.txt").write_text("")
    (folder / "serial").write_text("01")
    config = folder / "ca.cnf"
    config.write_text(
        "[ca]\ndefault_ca=x\n[x]\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n"
        "[p]\ncommonName=supplied\n"
    )
    _openssl(
        *("ca", "-batch", "-config", config, "-selfsign", "-keyfile", key, "-in", request, "-out", certificate),
        *("-startdate", start, "-enddate", end, "-notext"),
        cwd=folder,
    )
    return Pair(certificate, key)


def encrypt_key(pair: Pair) -> Pair:
    """Return the pair with a passphrase on its key."""
    key = pair.key.with_suffix(".encrypted")
    _openssl("ec", "-aes256", "-passout", "pass:open sesame", "-in", pair.key, "-out", key)
    return Pair(pair.certificate, key)


async def shown_certificate(port: int) -> bytes:
    """Connect and return the certificate that is shown, as DER."""
    _, writer = await asyncio.open_connection(LOCALHOST, port, ssl=trusting_all())
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert isinstance(shown, bytes)
        return shown
    finally:
        writer.close()


async def takes_protocol(port: int, protocol: str) -> bool:
    """Tell whether a handshake with nothing but this protocol, such as `tls1_2`, succeeds."""
    # The oldest need a lower security level than today's, or they fail on our side.
    client = await asyncio.create_subprocess_exec(
        *("openssl", "s_client", f"-{protocol}", "-cipher", "ALL:@SECLEVEL=0", "-connect", f"{LOCALHOST}:{port}"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return await client.wait() == 0


def trusting_all() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _openssl(*arguments: object, cwd: Path | None = None) -> None:
    subprocess.run(["openssl", *map(str, arguments)], cwd=cwd, check=True, capture_output=True)  # noqa: S607  on the PATH
