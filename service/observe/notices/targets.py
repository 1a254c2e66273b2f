"""Where notices go: a signed webhook, a Slack-compatible address, or e-mail. Each takes one message, or says why not."""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import os
import socket
import time
from collections.abc import Callable
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Protocol

import aiohttp
import aiosmtplib
import msgspec
from yarl import URL

from service.config.settings import NoticeSettings, SecretReference
from service.observe.notices.message import Message

# Of everything together: the address, the connection, the answer.
_TIMEOUT_SECONDS = 20.0
_SECRET_PREFIX = "whsec_"  # noqa: S105  a prefix, not a secret
_MAX_SLACK_TEXT = 3_000


class NoticeError(Exception):
    """A notice did not get through; the message says why, without any secret."""


class Target(Protocol):
    """Where notices go."""

    def check(self) -> None:
        """Look for what can be told to be wrong without sending. Raises `NoticeError`."""

    async def send(self, key: str, message: Message) -> None:
        """Send one message; `key` is the same whenever it is sent again. Raises `NoticeError`."""


def make_target(settings: NoticeSettings) -> Target:
    """Return the target that the settings describe."""
    kinds: dict[str, Callable[[NoticeSettings], Target]] = {"webhook": _Webhook, "slack": _Slack, "email": _Email}
    return kinds[settings.kind](settings)


def signature(secret: bytes, key: str, timestamp: int, body: bytes) -> str:
    """Return one signature of a message, as the Standard Webhooks specification says."""
    signed = f"{key}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()}"


class _Webhook:
    """Signs as the Standard Webhooks specification says: https://www.standardwebhooks.com."""

    def __init__(self, settings: NoticeSettings) -> None:
        self._settings = settings

    def check(self) -> None:
        _url_of(self._settings)
        self._keys()

    def _keys(self) -> list[bytes]:
        return [_key_of(secret) for secret in self._settings.secrets]

    async def send(self, key: str, message: Message) -> None:
        data = {"begun": message.begun, "ended": message.ended, "dashboard": message.dashboard}
        document = {"type": f"heap_cordial.{message.type}", "timestamp": message.at, "data": data}
        document["text"] = f"{message.subject}\n\n{message.text}"
        body = msgspec.json.encode(document)
        timestamp = int(time.time())
        headers = {"webhook-id": key, "webhook-timestamp": str(timestamp)}
        if keys := self._keys():
            headers["webhook-signature"] = " ".join(signature(each, key, timestamp, body) for each in keys)
        await _post(_url_of(self._settings), body, headers)


class _Slack:
    """Posts `{"text": …}`, which Slack, Mattermost, Rocket.Chat, Discord (`/slack`), Google Chat and others take."""

    def __init__(self, settings: NoticeSettings) -> None:
        self._settings = settings

    def check(self) -> None:
        _url_of(self._settings)

    async def send(self, key: str, message: Message) -> None:  # noqa: ARG002  Slack knows no such key
        text = f"*{_for_slack(message.subject)}*\n{_for_slack(message.text)}"
        if len(text) > _MAX_SLACK_TEXT:
            text = _cut(text, f"Dashboard: {message.dashboard}" if message.dashboard else "")
        await _post(_url_of(self._settings), msgspec.json.encode({"text": text}), {})


class _Email:
    def __init__(self, settings: NoticeSettings) -> None:
        self._settings = settings

    def check(self) -> None:
        self._password()

    def _password(self) -> str | None:
        settings = self._settings
        password = _read(settings.smtp_passwords[0]) if settings.smtp_passwords else None
        if password is not None and settings.smtp_security == "none" and not _is_this_machine(settings.smtp_host):
            raise NoticeError("the SMTP password is not sent without TLS; set smtp_security")
        return password

    async def send(self, key: str, message: Message) -> None:
        settings = self._settings
        password = self._password()
        mail = EmailMessage()
        mail["From"] = settings.sender
        mail["To"] = settings.recipients
        mail["Subject"] = message.subject
        mail["Date"] = format_datetime(message.at)
        # So that a mail program shows a mail that was sent again only once.
        mail["Message-ID"] = f"<{key}@{parseaddr(settings.sender)[1].rpartition('@')[2] or 'heap-cordial'}>"
        # So that no holiday answer comes back.
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.text)
        try:
            await aiosmtplib.send(
                mail,
                hostname=settings.smtp_host,
                port=settings.smtp_port,
                username=settings.smtp_user or None,
                password=password,
                use_tls=settings.smtp_security == "tls",
                start_tls=settings.smtp_security == "starttls",
                timeout=_TIMEOUT_SECONDS,
                # Otherwise the DNS is asked, on a thread that nobody can end.
                local_hostname=socket.gethostname(),
            )
        except aiosmtplib.SMTPResponseException as error:
            raise NoticeError(f"the mail server says {error.code} {error.message[:100]}") from error
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise NoticeError(f"the mail server does not work: {type(error).__name__}") from error


async def _post(url: str, body: bytes, headers: dict[str, str]) -> None:
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
    sent = {"Content-Type": "application/json", "User-Agent": "heap-cordial", **headers}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.post(url, data=body, headers=sent, allow_redirects=False) as answer,
        ):
            if answer.status // 100 != 2:  # noqa: PLR2004  the 2xx statuses
                raise NoticeError(f"the answer was {answer.status}")
    except TimeoutError as error:
        raise NoticeError(f"no answer within {_TIMEOUT_SECONDS:.0f} s") from error
    except (aiohttp.ClientError, ValueError) as error:
        raise NoticeError(f"it cannot be reached: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return by its type why a connection failed: the text quotes the address, which may be a secret."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its host is not known"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno:
        return os.strerror(error.os_error.errno)
    return type(error).__name__


def _url_of(settings: NoticeSettings) -> str:
    """Return the URL of a target, which may be a secret itself. Raises `NoticeError` where nothing can be posted to it."""
    url = _read(settings.urls[0])
    try:
        # As the library that posts reads it, which is stricter about hosts and ports than `urlsplit`.
        parts = URL(url)
        host = parts.host or ""
    except ValueError:
        raise NoticeError("the URL cannot be read") from None
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_this_machine(host)):
        raise NoticeError("the URL must begin with https://; http is allowed only on this machine")
    if not host or " " in host:
        raise NoticeError("the URL names no host")
    return url


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read(reference: SecretReference) -> str:
    try:
        return reference.read().strip()
    except OSError as error:
        raise NoticeError(f"{reference.place} cannot be read: {error.strerror}") from None
    except LookupError as error:
        raise NoticeError(str(error.args[0])) from None


def _key_of(secret: SecretReference) -> bytes:
    prefix, _, encoded = _read(secret).partition(_SECRET_PREFIX)
    fault = NoticeError(f"the secret in {secret.place} must be whsec_ and Base64")
    if prefix or not encoded:
        raise fault
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise fault from None


def _cut(text: str, end: str) -> str:
    """Cut a text for Slack after a paragraph, so that nothing in it is half a word or half a link, and end it like this."""
    rest = "\n\n".join(["", "And more.", *([end] if end else [])])
    kept = text[: _MAX_SLACK_TEXT - len(rest)]
    return (kept.rpartition("\n\n")[0] or kept) + rest


def _for_slack(text: str) -> str:
    """Take the meaning from the three characters that make links and mentions, as Slack asks for."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
