"""Notices to real receivers: each condition is told once, when it begins and when it is over, through every trouble (R16)."""

import asyncio
import base64
import hashlib
import hmac
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from service.clock import wall_ms
from service.config.settings import NoticeSettings, SecretReference
from service.model.conditions import Condition, Fact, to_condition
from service.observe.notices.message import Message
from service.observe.notices.notices import Notices, Timings, try_to_send
from service.observe.notices.targets import NoticeError, make_target, signature
from service.supervision import Supervisor
from tests.command_fixtures import run_command
from tests.ports import free_port
from tests.store_harness import SettableClock
from tests.store_sqlite import SqliteStoreMaker
from tests.tls_fixtures import make_pair

# A mail server on this machine needs no TLS; the other warning is of aiosmtpd, about itself.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning"),
    pytest.mark.filterwarnings("ignore:Session.login_data is deprecated:DeprecationWarning"),
]

QUICK = Timings(look=0.01, first_wait=0.02, longest_wait=0.1)
SECRET = "whsec_" + base64.b64encode(b"a secret of ours that is long").decode()
AT = "2026-03-02T09:14:05Z"


class Taken(NamedTuple):
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return msgspec.json.decode(self.body)


class Receiver:
    """An HTTP receiver; `status` is what it answers, None lets it hang."""

    def __init__(self) -> None:
        self.taken: list[Taken] = []
        self.tried = 0
        self.status: int | None = 200
        self.answers_after_seconds = 0.0
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.tried += 1
        if self.status is None:
            await asyncio.sleep(600)
        assert self.status is not None
        if self.status == 200:
            self.taken.append(Taken({name.lower(): value for name, value in request.headers.items()}, body))
            await asyncio.sleep(self.answers_after_seconds)
        return web.Response(status=self.status)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    app = web.Application()
    app.router.add_post("/hook", found.take)
    async with TestServer(app) as server:
        found.url = str(server.make_url("/hook"))
        yield found


class MovingClock(SettableClock):
    """The machine's time."""

    def now_ms(self) -> int:
        return wall_ms()


class World:
    """A store, what lasts, and the notices of one service after the other."""

    def __init__(self, directory: Path) -> None:
        self.maker = SqliteStoreMaker(directory, MovingClock())
        self.maker.put_new()
        self.lasting: list[Condition] = []
        self.directory = directory
        self.store: Any = None
        self.notices: Notices
        self.timings = QUICK
        # By how much the machine's clock is wrong.
        self.ahead_ms = 0

    async def start(self, *targets: NoticeSettings) -> None:
        self.store = await self.maker.open()
        self.notices = Notices(
            self.store.notices, lambda: self.lasting, lambda: "https://sync.example.com/",
            now_ms=lambda: wall_ms() + self.ahead_ms, steady_ms=wall_ms, supervisor=Supervisor(), timings=self.timings,
        )  # fmt: skip
        await self.notices.serve({target.name: target for target in targets})

    async def stop(self) -> None:
        await self.notices.stop()
        await self.store.close()

    def secret(self, name: str, text: str) -> SecretReference:
        path = self.directory / name
        path.write_text(text)
        return SecretReference(file=str(path))

    def webhook(self, url: str, name: str = "ops", **keys: Any) -> NoticeSettings:
        return msgspec.structs.replace(
            NoticeSettings(name, "webhook", patience_minutes=0),
            urls=(self.secret(f"{name}-url", url),),
            secrets=(self.secret(f"{name}-secret", SECRET),),
            **keys,
        )


@pytest.fixture
async def world(tmp_path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    if made.store is not None:
        await made.stop()


def condition(kind: str = "account_stopped", account: str = "acme", **more: Any) -> Condition:
    return to_condition(Fact(kind, account, **more), wall_ms() - 60_000)


async def until(look: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not look():  # noqa: ASYNC110  a receiver is looked at from outside
            await asyncio.sleep(0.01)


async def told_nothing_more(receiver: Receiver) -> None:
    """Wait until the service has looked many times."""
    before = len(receiver.taken)
    await asyncio.sleep(30 * QUICK.look)
    assert len(receiver.taken) == before


async def test_a_condition_is_told_once_when_it_begins_and_once_when_it_is_over_over_restarts(world, receiver):
    target = world.webhook(receiver.url)
    await world.start(target)
    world.lasting = [condition(detail="unauthorized", people=1_200)]
    await until(lambda: receiver.taken)
    await world.stop()
    await world.start(target)
    await told_nothing_more(receiver)
    world.lasting = []
    await until(lambda: len(receiver.taken) == 2)
    await world.stop()
    await world.start(target)
    await told_nothing_more(receiver)
    begun, ended = (taken.document for taken in receiver.taken)
    assert (begun["type"], [each["id"] for each in begun["data"]["begun"]]) == (
        "heap_cordial.conditions",
        ["account_stopped"],
    )
    assert [each["id"] for each in ended["data"]["ended"]] == ["account_stopped"]
    for words in (
        "CRITICAL: Cordial rejects the API key for acme", "Its changes wait.", "unauthorized", "people concerned: 1,200", "heap-cordial check", "Since 20",
        "https://sync.example.com/#/conditions/account_stopped?account=acme",
    ):  # fmt: skip
        assert words in begun["text"]
    assert "over: Cordial does not serve the account (acme)" in ended["text"]


async def test_a_stop_while_the_receiver_answers_tells_nothing_twice(world, receiver):
    receiver.answers_after_seconds = 0.3
    target = world.webhook(receiver.url)
    await world.start(target)
    world.lasting = [condition()]
    await until(lambda: receiver.taken)
    await world.stop()
    await world.start(target)
    await told_nothing_more(receiver)


@pytest.mark.parametrize(("refused", "status"), [("DELETE", 200), ("UPDATE", 503)])
async def test_what_the_store_cannot_note_is_not_sent_again_and_again(world, receiver, refused, status):
    receiver.status = status
    world.timings = msgspec.structs.replace(QUICK, first_wait=600, longest_wait=600)
    await world.start(world.webhook(receiver.url))
    with world.maker.connection() as other:
        other.execute(f"CREATE TRIGGER full BEFORE {refused} ON notice BEGIN SELECT raise(ABORT, 'no room'); END")
        world.lasting = [condition()]
        await until(lambda: receiver.tried)
        await told_nothing_more(receiver)
        other.execute("DROP TRIGGER full")
    assert receiver.tried == 1
    if status == 200:
        world.lasting = []
        await until(lambda: latest(receiver, "ended"))
        assert receiver.tried == 2


async def test_the_signature_is_that_of_standard_webhooks(world, receiver):
    await world.start(world.webhook(receiver.url))
    world.lasting = [condition()]
    await until(lambda: receiver.taken)
    [taken] = receiver.taken
    signed = f"{taken.headers['webhook-id']}.{taken.headers['webhook-timestamp']}.".encode() + taken.body
    expected = hmac.digest(b"a secret of ours that is long", signed, hashlib.sha256)
    assert taken.headers["webhook-signature"] == "v1," + base64.b64encode(expected).decode()
    assert abs(int(taken.headers["webhook-timestamp"]) - time.time()) < 60


def test_the_specifications_own_example_has_the_signature_that_it_gives():
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_a_target_that_hangs_or_refuses_delays_no_other_loses_nothing_and_is_a_condition(world, receiver):
    app = web.Application()
    other = Receiver()
    other.status = None
    app.router.add_post("/hook", other.take)
    async with TestServer(app) as server:
        bad = world.webhook(str(server.make_url("/hook")), "bad")
        await world.start(world.webhook(receiver.url), bad)
        world.lasting = [condition()]
        await until(lambda: receiver.taken)
        await until(lambda: other.tried)
        await world.stop()
        other.status = 503
        await world.start(world.webhook(receiver.url), bad)
        await until(lambda: other.tried >= 3)
        [fact] = world.notices.facts()
        assert (fact.id, fact.subject, fact.detail) == ("notices_fail", "bad", "the answer was 503; 1 message waits")
        world.lasting = []
        await until(lambda: len(receiver.taken) == 2)
        other.status = 200
        await until(lambda: len(other.taken) == 2)
        assert [bool(each.document["data"]["begun"]) for each in other.taken] == [True, False]
        assert len({each.headers["webhook-id"] for each in other.taken}) == 2
        await until(lambda: not list(world.notices.facts()))


async def test_what_waits_for_a_target_is_bounded_and_its_last_word_is_true(world, receiver):
    world.timings = msgspec.structs.replace(QUICK, max_waiting=3)
    receiver.status = 503
    await world.start(world.webhook(receiver.url))
    for number in range(6):
        # Each begins, and the one before is over.
        world.lasting = [condition("list_held", subject=f"List{number}")]
        await tried_once_more(receiver)
    assert await world.store.notices.waiting("ops") == 3
    receiver.status = 200
    await until(lambda: [each["subject"] for each in latest(receiver, "begun")] == ["List5"])
    world.lasting = []
    await until(lambda: [each["subject"] for each in latest(receiver, "ended")] == ["List5"])
    told = [
        (kind, each["subject"])
        for taken in receiver.taken
        for kind in ("begun", "ended")
        for each in told_by(taken, kind)
    ]
    assert len(set(told)) == len(told)
    # Nothing is left standing: whatever was told as begun was told as over.
    assert {name for kind, name in told if kind == "begun"} == {name for kind, name in told if kind == "ended"}


async def test_what_a_target_refuses_for_days_is_dropped_and_no_more_than_that(world, receiver):
    world.timings = msgspec.structs.replace(QUICK, max_age=0.1)
    receiver.status = 503
    await world.start(world.webhook(receiver.url))
    world.lasting = [condition("list_held", subject="Old")]
    await until(lambda: receiver.tried)
    async with asyncio.timeout(30):
        while await world.store.notices.waiting("ops"):  # noqa: ASYNC110  the store is looked at from outside
            await asyncio.sleep(0.01)
    receiver.status = 200
    world.lasting += [condition("list_held", subject="New")]
    await until(lambda: "New" in [each["subject"] for taken in receiver.taken for each in told_by(taken, "begun")])
    world.lasting = [condition("list_held", subject="New")]
    await until(lambda: [each["subject"] for each in latest(receiver, "ended")] == ["Old"])
    told = [each["subject"] for taken in receiver.taken for each in told_by(taken, "begun")]
    assert sorted(told) == ["New", "Old"], "what lasts is told anew, once"
    # Nor is it lost that something is over.
    receiver.status = 503
    world.lasting = []
    before = receiver.tried
    await until(lambda: receiver.tried > before + 3)
    receiver.status = 200
    await until(lambda: [each["subject"] for each in latest(receiver, "ended")] == ["New"])
    await told_nothing_more(receiver)


async def test_a_target_that_failed_before_a_restart_is_not_said_to_work(world, receiver):
    world.timings = msgspec.structs.replace(QUICK, first_wait=3_600.0, longest_wait=3_600.0)
    receiver.status = 503
    await world.start(world.webhook(receiver.url))
    world.lasting = [condition()]
    await until(lambda: list(world.notices.facts()))
    await world.stop()
    await world.start(world.webhook(receiver.url))
    await until(lambda: list(world.notices.facts()))
    await until(lambda: receiver.tried == 2)
    receiver.status = 200
    # Who has mended a target reloads the configuration, and does not wait for an hour.
    await world.notices.serve({"ops": world.webhook(receiver.url)})
    await until(lambda: receiver.taken and not list(world.notices.facts()))


def test_what_is_reported_for_a_time_is_not_said_to_be_mended_after_it():
    since = datetime(2026, 3, 2, tzinfo=UTC)

    def text(days: int) -> str:
        over = condition("heap_silent", subject="Buyers")
        over = msgspec.structs.replace(over, since=since, ended_at=since + timedelta(days=days))
        return Message("conditions", since, [], [over]).text

    assert "It may not be mended: it is reported for about 14 days." in text(13)
    assert "mended" not in text(2)


async def tried_once_more(receiver: Receiver) -> None:
    before = receiver.tried
    await until(lambda: receiver.tried > before)


def told_by(taken: Taken, kind: str) -> list[dict[str, Any]]:
    return list(taken.document["data"][kind])


def latest(receiver: Receiver, kind: str) -> list[dict[str, Any]]:
    """Return what the last message says of these."""
    return told_by(receiver.taken[-1], kind) if receiver.taken else []


async def test_what_lasts_for_less_than_the_patience_is_not_told(world, receiver):
    await world.start(world.webhook(receiver.url, patience_minutes=60), world.webhook(receiver.url, "quick"))
    world.lasting = [condition()]
    await until(lambda: receiver.taken)
    await told_nothing_more(receiver)
    assert len(receiver.taken) == 1


async def test_only_what_is_severe_enough_is_told_and_all_at_once_in_one_message(world, receiver):
    await world.start()
    world.lasting = [
        condition("account_dry_run"),
        *(condition("list_held", subject=f"List{number}") for number in range(1_000)),
        *(condition("list_held", account=f"other{number}", subject="Buyers") for number in range(30)),
    ]
    await world.notices.serve({"ops": world.webhook(receiver.url)})
    await until(lambda: receiver.taken)
    await told_nothing_more(receiver)
    [taken] = receiver.taken
    assert {each["id"] for each in taken.document["data"]["begun"]} == {"list_held"}
    # For programs all, for people many of a kind in one account as one.
    assert len(taken.document["data"]["begun"]) == 1_030
    assert "The list is held (acme: List0, List1, List2 and 997 more)" in taken.document["text"]
    assert "And 11 more." in taken.document["text"]


async def test_a_summary_comes_once_a_day(world, receiver):
    at = time.strftime("%H:%M", time.gmtime())
    target = world.webhook(receiver.url, summary_at=at, severity="critical")
    # What is for information only is told, and needs no attention.
    world.lasting = [condition("list_held", subject="Buyers"), condition("account_dry_run")]
    await world.start(target)
    await until(lambda: receiver.taken)
    await world.stop()
    await world.start(target)
    await told_nothing_more(receiver)
    # The machine's clock goes a day ahead and comes back.
    world.ahead_ms = 86_400_000
    await until(lambda: len(receiver.taken) == 2)
    world.ahead_ms = 0
    await told_nothing_more(receiver)
    [taken, _] = receiver.taken
    assert "heap-cordial: 1 thing needs attention" in taken.document["text"]
    assert (taken.document["type"], "The list is held (acme Buyers)" in taken.document["text"]) == (
        "heap_cordial.summary",
        True,
    )


async def test_slack_gets_text_that_mentions_nobody(world, receiver):
    target = msgspec.structs.replace(
        NoticeSettings("chat", "slack", patience_minutes=0), urls=(world.secret("url", receiver.url),)
    )
    await world.start(target)
    world.lasting = [condition(detail="<!channel> & more")]
    await until(lambda: receiver.taken)
    [taken] = receiver.taken
    assert taken.document.keys() == {"text"}
    assert "&lt;!channel&gt; &amp; more" in taken.document["text"]
    # What is too long for Slack ends after a condition, and still leads to all.
    world.lasting = [condition(account=f"shop{number}", detail="a & b " * 50) for number in range(9)]
    await until(lambda: len(receiver.taken) == 2)
    text = receiver.taken[1].document["text"]
    assert len(text) <= 3_000
    *told, cut, dashboard = text.split("\n\n")
    assert (cut, dashboard) == ("And more.", "Dashboard: https://sync.example.com/")
    assert len(told) >= 2
    assert all("More about it: https://sync.example.com/#/conditions/" in each for each in told)


class Mailbox:
    """What an SMTP server took."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], bytes]] = []

    async def handle_DATA(self, _server, _session, envelope) -> str:  # noqa: N802  aiosmtpd's name
        self.mails.append((envelope.rcpt_tos, envelope.content))
        return "250 taken"


def takes_password(_server, _session, _envelope, _mechanism, data) -> AuthResult:
    return AuthResult(success=(data.login, data.password) == (b"heap", b"a password"), handled=False)


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box, port = Mailbox(), free_port()
    controller = Controller(
        box, hostname="127.0.0.1", port=port, authenticator=takes_password, auth_required=True, auth_require_tls=False
    )
    controller.start()
    try:
        yield box, port
    finally:
        controller.stop()


def mail_settings(world: World, port: int, password: str = "a password") -> NoticeSettings:
    return msgspec.structs.replace(
        NoticeSettings("mail", "email", patience_minutes=0),
        smtp_host="127.0.0.1",
        smtp_port=port,
        smtp_security="none",
        smtp_user="heap",
        smtp_passwords=(world.secret("password", password),),
        sender="heap-cordial@example.com",
        recipients="ops@example.com, night@example.com",
    )


async def test_e_mail_reaches_its_recipients(world, mailbox):
    box, port = mailbox
    await world.start(mail_settings(world, port))
    world.lasting = [condition(subject="Käufer\r\nBcc: eve@example.com")]
    await until(lambda: box.mails)
    [(recipients, content)] = box.mails
    mail = message_from_bytes(content)
    assert recipients == ["ops@example.com", "night@example.com"]
    assert (mail["Auto-Submitted"], mail["Bcc"]) == ("auto-generated", None)
    assert "Cordial does not serve the account" in str(mail["Subject"])


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_e_mail_travels_encrypted_and_only_to_a_server_whose_certificate_is_trusted(
    world, tmp_path, monkeypatch, security
):
    pair = make_pair(tmp_path, "mail", extension="subjectAltName=DNS:localhost,IP:127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    box, port = Mailbox(), free_port()
    # A server that takes neither password nor mail in clear text.
    if security == "starttls":
        way: dict[str, Any] = {"tls_context": context, "require_starttls": True}
    else:
        # aiosmtpd takes only STARTTLS for encrypted.
        way = {"ssl_context": context, "auth_require_tls": False}
    controller = Controller(
        box, hostname="127.0.0.1", port=port, authenticator=takes_password, auth_required=True, **way
    )
    controller.start()
    try:
        target = make_target(msgspec.structs.replace(mail_settings(world, port), smtp_security=security))
        message = Message("test", condition().since, [], [])
        assert "the mail server does not work" in await try_to_send(target, "key", message)
        assert not box.mails
        monkeypatch.setenv("SSL_CERT_FILE", str(pair.certificate))
        assert not await try_to_send(target, "key", message)
    finally:
        controller.stop()
    assert [recipients for recipients, _ in box.mails] == [["ops@example.com", "night@example.com"]]


async def test_a_mail_that_is_sent_again_is_known_by_its_message_id(world, mailbox):
    box, port = mailbox
    target = make_target(msgspec.structs.replace(mail_settings(world, port), sender="Heap <heap@example.com>"))
    message = Message("test", condition().since, [], [])
    for key in ("one", "one", "other"):
        assert not await try_to_send(target, key, message)
    ids = [message_from_bytes(content)["Message-ID"] for _, content in box.mails]
    assert ids == ["<one@example.com>", "<one@example.com>", "<other@example.com>"]


async def test_a_mail_server_without_starttls_gets_no_password(world, mailbox):
    box, port = mailbox
    target = make_target(msgspec.structs.replace(mail_settings(world, port), smtp_security="starttls"))
    assert "the mail server does not work" in await try_to_send(
        target, "key", Message("test", condition().since, [], [])
    )
    assert not box.mails


async def test_a_mail_server_that_refuses_says_why(world, mailbox):
    _, port = mailbox
    wrong = make_target(mail_settings(world, port, "a wrong password"))
    message = Message("test", condition().since, [], [])
    assert "the mail server says 535" in await try_to_send(wrong, "key", message)
    nobody = make_target(msgspec.structs.replace(mail_settings(world, port), smtp_port=free_port()))
    assert "the mail server does not work" in await try_to_send(nobody, "key", message)
    far = make_target(msgspec.structs.replace(mail_settings(world, port), smtp_host="mail.example.com"))
    assert "not sent without TLS" in await try_to_send(far, "key", message)


@pytest.mark.parametrize(
    ("url", "secret", "words"),
    [
        ("http://hooks.example.com/secret", SECRET, "must begin with https://"),
        ("ftp://127.0.0.1/secret", SECRET, "must begin with https://"),
        ("http://127.0.0.1:1/secret", SECRET, "it cannot be reached: Connection refused"),
        ("http://127.0.0.1:1/secret", "no prefix", "must be whsec_ and Base64"),
    ],
)
async def test_a_fault_of_the_settings_is_told_without_the_secret(world, url, secret, words):
    settings = msgspec.structs.replace(
        NoticeSettings("ops", "webhook"), urls=(world.secret("url", url),), secrets=(world.secret("key", secret),)
    )
    told = await try_to_send(make_target(settings), "key", Message("test", condition().since, [], []))
    assert words in told
    if "cannot be reached" not in words:
        # `check` finds the same without sending.
        with pytest.raises(NoticeError, match=re.escape(told)):
            make_target(settings).check()
    assert "/secret" not in told


def test_the_document_says_the_defaults():
    text, default = Path("docs/notices.md").read_text(), NoticeSettings("ops", "slack")
    assert f"`patience_minutes` ({default.patience_minutes})" in text
    assert f'`severity = "{default.severity}"` (the default)' in text
    assert "also sends a daily summary" in text
    assert default.summary_at == ""


async def test_the_command_tries_each_target_and_says_what_came_of_it(tmp_path, receiver):
    (tmp_path / "url").write_text(receiver.url)
    (tmp_path / "nowhere").write_text("http://127.0.0.1:1/")
    for name in ("heap", "cordial"):
        (tmp_path / name).write_text("secret")
    (tmp_path / "config.toml").write_text(
        '[accounts.acme]\nheap_secret_file = "heap"\ncordial_api_key_file = "cordial"\n'
        '[notices.ops]\nkind = "slack"\nurl_file = "url"\n[notices.gone]\nkind = "webhook"\nurl_file = "nowhere"\n'
    )
    ended = await run_command("notices", "test", "--config", str(tmp_path / "config.toml"))
    assert (ended.status, ended.output.splitlines()) == (
        1,
        ["ops: the test was sent", "gone: it cannot be reached: Connection refused"],
    )
    assert "a test of notices" in receiver.taken[0].document["text"]
    one = await run_command("notices", "test", "--target", "ops", "--config", str(tmp_path / "config.toml"))
    assert (one.status, one.output.splitlines()) == (0, ["ops: the test was sent"])
    as_json = await run_command("notices", "--config", str(tmp_path / "config.toml"), "test", "--json")
    assert [msgspec.json.decode(line) for line in as_json.output.splitlines()] == [
        {"target": "ops", "sent": True, "fault": ""},
        {"target": "gone", "sent": False, "fault": "it cannot be reached: Connection refused"},
    ]
