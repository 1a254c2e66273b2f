import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ErrorCode, ServiceError
from service.receive.signature import Verdict, parse_header, sign, verify

NOW_MS = 1_700_000_000_000
TIMESTAMP = "1700000000000"
TOLERANCE_SECONDS = 300.0

# Computed with OpenSSL, not with the code under test: printf '%s' "$ts$body" | openssl dgst -sha256 -hmac "$secret"
VECTORS = [
    ("whsec_test_123", '{"a":1}', "5cf651f7c6ad7b364b4bab2115c33faad81649ea8ad3a1cd56d7dd7ffd6bb19e"),
    (
        "a secret with spaces ",
        '{"segment":"Zoë 😀"}',
        "a2a796a4065ee3ad02cfdcafac01cd961e9eca9f45b4a39e1f2500dcd216892b",
    ),
    ("schlüssel-ß", '{"segment":"東京"}', "cec2083b87b9a6fccf96f61572ea39efcd94436aa41c64566b6d19146c8286c4"),
    ("k" * 100, "", "4aeb1086ef0cc614a4a7583817830e38e088b91a29c87942036b9f7edaa27a19"),
]


def verdict_of(header: str, body: bytes, *secrets: str, now_ms: int = NOW_MS) -> Verdict:
    return verify(parse_header([header]), body, secrets, now_ms, TOLERANCE_SECONDS)


@pytest.mark.parametrize(("secret", "body", "hexadecimal"), VECTORS)
def test_signatures_equal_those_of_another_implementation(secret, body, hexadecimal):
    encoded = base64.b64encode(bytes.fromhex(hexadecimal)).decode()
    assert sign(secret, TIMESTAMP, body.encode()) == f"ts:{TIMESTAMP},hmac:{encoded}"
    for form in (encoded, hexadecimal, hexadecimal.upper()):
        assert verdict_of(f"ts:{TIMESTAMP},hmac:{form}", body.encode(), secret) is Verdict.VALID


def test_the_published_example_holds():
    header = "ts:1700000000000,hmac:XPZR98atezZLS6shFcM/qtgWSeqK06HNVtfdf/1rsZ4="
    assert sign("whsec_test_123", TIMESTAMP, b'{"a":1}') == header


MAC = sign("secret", TIMESTAMP, b"{}").partition("hmac:")[2]


@pytest.mark.parametrize(
    "value",
    [
        f"ts:{TIMESTAMP},hmac:{MAC}",
        f"hmac:{MAC},ts:{TIMESTAMP}",
        f"  ts : {TIMESTAMP} ,  hmac : {MAC} ",
        f"v:2,ts:{TIMESTAMP},kid:a:b:c,hmac:{MAC},v:3,nothing",
        f"ts:{TIMESTAMP},hmac:{MAC},",
    ],
)
def test_a_header_is_read_in_every_form_the_spec_leaves_open(value):
    assert verdict_of(value, b"{}", "secret") is Verdict.VALID


@pytest.mark.parametrize(
    "values",
    [
        [],
        [""],
        ["Bearer abc"],
        [f"ts:{TIMESTAMP}"],
        [f"hmac:{MAC}"],
        [f"ts:,hmac:{MAC}"],
        [f"ts:{TIMESTAMP},hmac:"],
        [f"ts:{TIMESTAMP},ts:{TIMESTAMP},hmac:{MAC}"],
        [f"ts:{TIMESTAMP},hmac:{MAC},hmac:{MAC}"],
        [f"ts:17e11,hmac:{MAC}"],
        [f"ts:-{TIMESTAMP},hmac:{MAC}"],
        [f"ts:{TIMESTAMP}.0,hmac:{MAC}"],
        [f"ts:\u0661\u0667\u0660,hmac:{MAC}"],
        [f"ts:{'1' * 5000},hmac:{MAC}"],
        [f"ts:{TIMESTAMP},hmac:{MAC[:-1]}"],
        [f"ts:{TIMESTAMP},hmac:{MAC[:-4]}"],
        [f"ts:{TIMESTAMP},hmac:{'a' * 63}"],
        [f"ts:{TIMESTAMP},hmac:{'g' * 64}"],
        [f"ts:{TIMESTAMP},hmac:\udcff"],
        [f"ts:{TIMESTAMP},hmac:{MAC}"] * 2,
    ],
)
def test_a_header_that_cannot_be_read_is_refused(values):
    with pytest.raises(ServiceError) as caught:
        parse_header(values)
    assert caught.value.code is ErrorCode.HEADER_UNREADABLE
    assert MAC not in caught.value.message


def test_the_timestamp_counts_as_it_was_written():
    body = b"{}"
    header = sign("secret", "01700000000000", body)
    assert verdict_of(header, body, "secret") is Verdict.VALID
    assert verdict_of(header.replace("ts:0", "ts:"), body, "secret") is Verdict.WRONG


@pytest.mark.parametrize("offset_seconds", [-300, -1, 0, 299.999, 300])
def test_a_signature_is_good_within_the_tolerance_either_way(offset_seconds):
    header = sign("secret", TIMESTAMP, b"{}")
    now_ms = NOW_MS + int(offset_seconds * 1000)
    assert verdict_of(header, b"{}", "secret", now_ms=now_ms) is Verdict.VALID


@pytest.mark.parametrize("offset_ms", [-300_001, 300_001, 10**12])
def test_a_right_signature_beyond_the_tolerance_is_stale(offset_ms):
    header = sign("secret", TIMESTAMP, b"{}")
    assert verdict_of(header, b"{}", "secret", now_ms=NOW_MS + offset_ms) is Verdict.STALE
    assert parse_header([header]).age_seconds(NOW_MS + offset_ms) == offset_ms / 1000


def test_any_of_several_secrets_will_do():
    for secret in ("old", "new"):
        assert verdict_of(sign(secret, TIMESTAMP, b"{}"), b"{}", "old", "new") is Verdict.VALID
    assert verdict_of(sign("other", TIMESTAMP, b"{}"), b"{}", "old", "new") is Verdict.WRONG
    assert verdict_of(sign("old", TIMESTAMP, b"{}"), b"{}") is Verdict.WRONG


@pytest.mark.parametrize("secret", ["secret ", " secret", "secret\n", "SECRET", "c2VjcmV0"])
def test_a_secret_is_taken_to_the_letter(secret):
    assert verdict_of(sign("secret", TIMESTAMP, b"{}"), b"{}", secret) is Verdict.WRONG


def test_a_body_reformatted_on_the_way_is_told_apart_but_not_valid():
    sent = '{"name":"Zoë 😀","ids":["a",1,2.5,true,null]}'.encode()
    header = sign("secret", TIMESTAMP, sent)
    received = b'{ "name": "Zo\\u00eb \\ud83d\\ude00",\n "ids": ["a", 1, 2.5, true, null] }'
    assert verdict_of(header, received, "secret") is Verdict.REFORMATTED
    assert verdict_of(header, received.replace(b"2.5", b"2.6"), "secret") is Verdict.WRONG


@given(body=st.binary(max_size=200), position=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_no_changed_byte_goes_unnoticed(body, position, flip):
    body = b'"' + body
    header = sign("secret", TIMESTAMP, body)
    changed = bytearray(body)
    changed[position % len(body)] ^= flip
    assert verdict_of(header, body, "secret") is Verdict.VALID
    assert verdict_of(header, bytes(changed), "secret") is not Verdict.VALID


def outcome_of_parsing(values: list[str]) -> object:
    try:
        return len(parse_header(values).mac)
    except ServiceError as error:
        return error.code


@given(st.lists(st.text(max_size=100), max_size=3))
def test_whatever_the_header_holds_it_is_read_or_refused(values):
    assert outcome_of_parsing(values) in {32, ErrorCode.HEADER_UNREADABLE}
