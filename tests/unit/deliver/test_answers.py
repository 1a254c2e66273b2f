"""What each answer of Cordial is taken to mean; the bodies are those of its contract and of recorded answers."""

import inspect
import json
import re
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from service.deliver.cordial import evidence, requests
from service.deliver.cordial.answers import (
    MAX_WAIT_SECONDS,
    NO_LIMITS,
    Answer,
    AnswerKind,
    Limits,
    leaves_of,
    list_names_of,
    no_answer,
    read_limits,
)
from service.deliver.cordial.evidence import read_answer
from service.deliver.cordial.requests import Request

NOW_MS = 1_780_000_000_000
DONE, NOT_FOUND, REFUSED = AnswerKind.DONE, AnswerKind.NOT_FOUND, AnswerKind.REFUSED
THROTTLED, UNAUTHORIZED = AnswerKind.THROTTLED, AnswerKind.UNAUTHORIZED
MISCONFIGURED, UNAVAILABLE = AnswerKind.MISCONFIGURED, AnswerKind.UNAVAILABLE

HTML = b"<!DOCTYPE html><html><body><h1>Attention Required! | Cloudflare</h1></body></html>"


WRITE = Request("PUT", "/contacts/email:a%40x.com", "contacts", {"Readers": True, "Writers": False}, "email:a@x.com")
LIST, COUNT = requests.get_list("1"), requests.count_list("1")
LISTS, CONTACT = requests.find_lists("Readers"), requests.get_contact("email:a@x.com")
RENAME = requests.rename_list("1", "Writers")


def answer(status: int, body: object = None, request: Request = WRITE, **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_answer(request, status, CIMultiDict(headers), raw, NOW_MS)


def refusal(**keys: object) -> dict[str, object]:
    return {"error": True, "errorKey": "GENERIC_ERROR_KEY", **keys}


def unknown(*keys: str) -> dict[str, object]:
    errors = {key: [f"key {key} is not part of the schema for this resource"] for key in keys}
    return {"error": True, "messages": {"validationErrors": errors}}


@pytest.mark.parametrize(
    ("request_", "status", "body"),
    [
        (WRITE, 201, {"success": True, "message": "contact created", "cID": "604f30256a44206b3f8d086e"}),
        (WRITE, 200, {"success": True}),
        (WRITE, 200, {"success": True, "errors": []}),
        (requests.create_list("Readers"), 200, {"success": True, "id": 123}),
        (LISTS, 200, [{"id": 123, "name": "safe-drivers", "enhanced": True}]),
        (LISTS, 200, []),
        (LIST, 200, {"id": 123, "name": "safe-drivers", "enhanced": True}),
        (COUNT, 200, {"id": 123, "name": "safe-drivers", "enhanced": True, "count": 255}),
        (RENAME, 200, [{"id": 1, "name": "Writers"}]),
        (CONTACT, 200, {"_id": "58c6", "lists": ["a"], "channels": {}}),
        (requests.get_job("1"), 200, {"status": "Done"}),
        (
            requests.list_imports(1, 100),
            200,
            [{"status": "Done", "metadata": {"importName": "heap-cordial 1-1-0a0f3915"}}],
        ),
        (requests.list_imports(1, 100), 200, []),
        (Request("POST", "/contactimports", "contactimports", {}), 201, {"jobId": "5f6b"}),
    ],
)
def test_it_took_effect(request_, status, body):
    found = answer(status, body, request_)
    assert (found.kind, found.status, found.body) == (DONE, status, body)


@pytest.mark.parametrize(
    "body", [{"status": "maintenance"}, {}, [], {"success": "false"}, {"success": 1}, {"error": "x"}]
)
def test_success_is_only_what_says_so_in_cordials_form(body):
    assert answer(200, body).kind is UNAVAILABLE


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (COUNT, {"id": 1, "name": "x", "count": -5}),
        (COUNT, {"id": 1, "name": "x", "count": 10**40}),
        (COUNT, {"id": 1, "name": "x", "count": "5"}),
        (LIST, {"success": True}),
        (LISTS, [{"id": 1}]),
        (CONTACT, {}),
        (CONTACT, {"_id": "1", "lists": "a"}),
    ],
)
def test_what_is_read_has_the_documented_shape(request_, body):
    assert answer(200, body, request_).kind is UNAVAILABLE


@pytest.mark.parametrize(
    ("lists", "document"),
    [
        ({"a"}, {"_id": "1", "lists": ["a"]}),
        ({"a"}, {"_id": "1", "attributes": {"lists": ["a"]}}),
        (set(), {"_id": "1", "lists": []}),
        (None, {"_id": "1", "attributes": {}}),
    ],
)
def test_a_contacts_lists_are_read_where_cordial_puts_them(lists, document):
    found = answer(200, document, CONTACT)
    assert found.contact is not None
    assert found.contact.list_names == lists


@pytest.mark.parametrize(
    ("request_", "status", "body"),
    [
        (WRITE, 404, {"error": True, "errorKey": "RECORD_NOT_FOUND", "message": "record not found"}),
        (WRITE, 404, {"error": True, "message": "record not found"}),
        (WRITE, 404, {"errorKey": "CONTACTS_CONTACT_NOT_FOUND"}),
        (WRITE, 400, {"error": True, "errorKey": "CONTACTS_CONTACT_NOT_FOUND", "message": "…"}),
        (WRITE, 422, {"error": True, "errorKey": "CONTACTS_CONTACT_NOT_FOUND", "message": "…"}),
        (LIST, 404, {"error": True, "errorKey": "ACCOUNT_LISTS_NOT_FOUND", "message": "List does not exist"}),
        (LISTS, 404, {"error": True, "errorKey": "RECORD_NOT_FOUND", "message": "record not found"}),
        (RENAME, 404, refusal(message="List is not found")),
    ],
)
def test_there_is_no_such_contact_or_list(request_, status, body):
    assert answer(status, body, request_).kind is NOT_FOUND


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"message": "Not Found"}),
        (404, {"error": "Not Found"}),
        (404, refusal(message="record not found")),
        (404, {"message": "no Route matched with those values"}),
        (422, refusal(messages={"contact": ["Contact doesn't exist"]})),
        (422, refusal(message='List "W" does not exist')),
        (404, {"error": True, "errorKey": "ACCOUNT_LISTS_NOT_FOUND", "message": "List does not exist"}),
    ],
)
def test_words_alone_make_no_contact_absent(status, body):
    assert answer(status, body).kind is not NOT_FOUND


def test_an_unknown_list_on_a_contact_speaks_of_its_lists():
    found = answer(404, {"error": True, "errorKey": "ACCOUNT_LISTS_NOT_FOUND", "message": "List does not exist"})
    assert (found.kind, found.unknown_keys) == (REFUSED, ("Readers", "Writers"))


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (422, refusal(message="Name must be unique"), "Name must be unique"),
        (422, refusal(messages={"channels.email.address": ["Address not exists"]}), "Address not exists"),
        (
            422,
            refusal(message={"a": ["The a field is required."], "b": ["Too long."]}),
            "The a field is required.; Too long.",
        ),
        (422, {"validationErrors": {"custID": ["unique constraint error"]}}, "unique constraint error"),
        (422, {"fieldErrors": [{"field": "x", "text": "bad"}]}, "x; bad"),
        (415, refusal(message="Unsupported Media Type"), "Unsupported Media Type"),
        (200, {"errors": ["odd"]}, "odd"),
        (200, {"success": False, "message": "no"}, "no"),
        (200, {"error": True, "message": "no"}, "no"),
        (201, {"success": True, "errors": {"address": ["invalid"]}}, "invalid"),
    ],
)
def test_this_request_is_refused(status, body, words):
    found = answer(status, body)
    assert (found.kind, found.message, found.unknown_keys) == (REFUSED, words, ())


@pytest.mark.parametrize("body", [{}, {"message": "Bad Request"}, {"error": "a text"}, [], {"errorKey": ["X"]}])
def test_a_refusal_that_is_not_in_cordials_form_is_somebody_elses(body):
    assert answer(422, body).kind is UNAVAILABLE


def test_what_only_reads_is_not_refused_for_its_own_sake():
    assert answer(422, refusal(message="no"), LISTS).kind is UNAVAILABLE


@pytest.mark.parametrize("keys", [("Readers",), ("Readers", "Writers")])
def test_keys_that_cordial_does_not_know_are_named(keys):
    found = answer(422, unknown(*keys))
    assert (found.kind, found.reason, found.unknown_keys) == (REFUSED, "unknown_key", keys)


def test_only_keys_outside_the_schema_count_as_unknown():
    body = {
        "messages": {"validationErrors": {"Readers": ["key Readers is not part of the schema"], "age": ["too old"]}}
    }
    assert answer(422, body).unknown_keys == ("Readers",)
    assert answer(422, {"validationErrors": {"age": ["too old"]}}).unknown_keys == ()


def test_a_key_that_is_no_secondary_key_is_the_configurations_fault():
    found = answer(422, refusal(messages={"searchField": ["Search field is not correct"]}))
    assert (found.kind, found.reason) == (MISCONFIGURED, "not_a_secondary_key")


@pytest.mark.parametrize(("status", "reason"), [(401, "unauthorized"), (403, "forbidden")])
def test_a_key_is_refused(status, reason):
    found = answer(status, {"error": "Access Denied: Authentication Failure"})
    assert (found.kind, found.reason, found.message) == (UNAUTHORIZED, reason, "Access Denied: Authentication Failure")


@pytest.mark.parametrize(
    "status", [301, 302, 304, 403, 404, 406, 408, 422, 500, 502, 503, 504, 520, 522, 599, 200, 201]
)
def test_html_is_never_cordials_word(status):
    found = answer(status, HTML)
    assert found.kind is UNAVAILABLE
    assert "Cloudflare" not in found.message


@pytest.mark.parametrize("raw", [b"", b"null", b'"ok"', b"true", b"12", b"\xff\xfe", b'{"success": tr'])
def test_a_success_without_a_document_is_none(raw):
    assert answer(200, raw).kind is UNAVAILABLE


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_errors_of_the_server_say_nothing_of_the_request(status):
    found = answer(status, refusal(message="Internal Server Error"))
    assert (found.kind, found.reason, found.message) == (UNAVAILABLE, f"http_{status}", "Internal Server Error")


def test_an_id_that_repeats_cordials_words_misleads_nobody():
    words = "the address search field is not correct@x.com is invalid, it is not part of the schema"
    found = answer(422, refusal(messages={"channels.email.address": [words]}))
    assert (found.kind, found.reason, found.unknown_keys) == (REFUSED, "refused", ())


@pytest.mark.parametrize("body", [refusal(message="Too Many Requests"), HTML, b""])
def test_too_many_requests(body):
    found = answer(429, body, WRITE, **{"Retry-After": "7", "X-Rate-Limit-Remaining": "0", "X-Rate-Limit-Reset": "5"})
    assert found.kind is THROTTLED
    assert (found.limits.retry_after_seconds, found.limits.remaining, found.limits.reset_seconds) == (7, 0, 5)


def test_long_words_are_cut():
    assert len(answer(422, refusal(message="x" * 100_000)).message) == 500


def test_no_headers_say_nothing():
    assert answer(200, {}).limits is NO_LIMITS


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("1.5", 1.5),
        (formatdate(NOW_MS / 1000 + 90, usegmt=True), 90),
        (formatdate(NOW_MS / 1000 - 90, usegmt=True), 0),
        (formatdate(NOW_MS / 1000 + 90)[:-5] + "-0000", 90),
        (formatdate(NOW_MS / 1000 + 90 + 7_200)[:-5] + "+0200", 90),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_WAIT_SECONDS),
        ("999999999999", MAX_WAIT_SECONDS),
        (str(NOW_MS + 90_000), 90),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    found = read_limits({"Retry-After": value}, NOW_MS).retry_after_seconds
    assert found == seconds


@pytest.mark.parametrize(
    "value", ["", "soon", "-5", "nan", "inf", "1e999", "Tomorrow 12:00", "Fri, 99 Foo 2026 99:99:99 GMT"]
)
def test_retry_after_that_means_nothing_is_none(value):
    assert read_limits({"Retry-After": value}, NOW_MS) == NO_LIMITS


@pytest.mark.parametrize(
    ("value", "seconds"), [("30", 30), ("0", 0), (str(NOW_MS // 1000 + 30), 30), (str(NOW_MS // 1000 - 30), 0)]
)
def test_a_reset_counts_from_now_or_is_an_epoch_after_all(value, seconds):
    found = read_limits({"X-Rate-Limit-Remaining": "3", "X-Rate-Limit-Reset": value}, NOW_MS)
    assert (found.remaining, found.reset_seconds) == (3, seconds)


@given(st.dictionaries(st.sampled_from(["Retry-After", "X-Rate-Limit-Remaining", "X-Rate-Limit-Reset"]), st.text()))
def test_no_header_raises(headers):
    limits = read_limits(headers, NOW_MS)
    for seconds in (limits.retry_after_seconds, limits.reset_seconds):
        assert seconds is None or 0 <= seconds <= MAX_WAIT_SECONDS
    assert limits.remaining is None or 0 <= limits.remaining <= 2**53


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["message", "messages", "validationErrors", "errors", "error", "errorKey", "success"])
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


# Every field that an answer's meaning depends on, with whatever may stand in it.
fields = st.sampled_from(
    [
        "message",
        "messages",
        "validationErrors",
        "fieldErrors",
        "errors",
        "error",
        "errorKey",
        "success",
        "count",
        "id",
        "_id",
        "name",
        "lists",
        "attributes",
        "status",
        "jobId",
        "Readers",
    ]
)
documents = st.dictionaries(fields, json_values, max_size=6) | st.lists(
    st.dictionaries(fields, json_values, max_size=3)
)
every_request = st.sampled_from(
    [WRITE, LIST, COUNT, LISTS, CONTACT, RENAME, requests.get_job("1"), requests.contact_attributes()]
)


@settings(max_examples=400)
@given(
    every_request,
    st.integers(100, 599),
    st.binary(max_size=60) | documents.map(lambda value: json.dumps(value).encode()),
)
def test_no_body_raises_and_only_a_document_of_success_counts_as_one(request_, status, raw):
    found = read_answer(request_, status, {}, raw, NOW_MS)
    assert found.status == status
    assert len(found.message) <= 500
    if found.kind is DONE:
        assert 200 <= status < 300
        assert isinstance(found.body, dict | list)
        assert request_ is not WRITE or (isinstance(found.body, dict) and found.body["success"] is True)
    if status >= 500 or status < 200:
        assert found.kind is UNAVAILABLE


@pytest.mark.parametrize("depth", [10, 100, 5_000, 200_000])
def test_deep_errors_are_read_as_far_as_cordials_go(depth):
    raw = b'{"error":true,"messages":' + b'{"a":' * depth + b'"x"' + b"}" * depth + b"}"
    assert answer(422, raw).kind in {REFUSED, UNAVAILABLE}


def test_every_question_has_an_answer_that_is_an_answer():
    """A question whose answer no row knows would count as trouble of the account, and pause it."""
    source = inspect.getsource(requests)
    asked = {f"GET {endpoint}" for endpoint in re.findall(r'Request\("GET", .*, "([^"]+)"', source)}
    assert len(asked) >= 6
    assert asked == {operation for operation in evidence._SHAPES if operation.startswith("GET ")}


@pytest.mark.parametrize("status", [199, 300, 301, 399])
def test_only_200_to_299_is_success(status):
    for request, body in ((WRITE, {"success": True}), (COUNT, {"id": 1, "name": "x", "count": 5}), (LISTS, [])):
        assert answer(status, body, request).kind is UNAVAILABLE


@pytest.mark.parametrize("status", [399, 408, 500])
def test_a_refusal_has_a_status_that_refuses(status):
    found = answer(status, refusal(message="no"))
    assert (found.kind, found.reason) == (UNAVAILABLE, f"http_{status}")
    assert answer(400, refusal(message="no")).kind is REFUSED
    assert answer(405, refusal(message="no")).kind is REFUSED
    assert answer(499, refusal(message="no")).kind is REFUSED


def test_what_creates_a_contact_cannot_find_that_it_does_not_exist():
    post = Request("POST", "/contacts", "contacts", {"Readers": True}, "email:a@x.com")
    body = {"error": True, "errorKey": "RECORD_NOT_FOUND", "message": "record not found"}
    assert answer(404, body, post).kind is UNAVAILABLE
    assert answer(422, body, post).kind is REFUSED
    assert answer(200, {"errorKey": "RECORD_NOT_FOUND"}).kind is REFUSED


@pytest.mark.parametrize(
    ("request_", "status", "body"),
    [
        (WRITE, 400, refusal(message="Search field is not correct")),
        (LISTS, 422, refusal(message="Search field is not correct")),
        (WRITE, 422, {"message": "Search field is not correct"}),
    ],
)
def test_only_a_contacts_refusal_in_cordials_form_speaks_of_its_secondary_key(request_, status, body):
    assert answer(status, body, request_).kind is not MISCONFIGURED


@pytest.mark.parametrize(
    ("status", "body", "reason", "message"),
    [
        (200, HTML, "not_json", "HTTP 200 without JSON"),
        (200, {}, "unexpected_answer", "HTTP 200"),
        (201, [], "unexpected_answer", "HTTP 201"),
        (403, HTML, "forbidden", "HTTP 403 without JSON"),
        (401, HTML, "http_401", "HTTP 401 without JSON"),
        (404, HTML, "http_404", "HTTP 404 without JSON"),
        (404, {}, "http_404", "HTTP 404"),
        (404, refusal(message="no"), "http_404", "no"),
    ],
)
def test_an_answer_that_is_not_cordials_is_told_by_what_is_wrong_with_it(status, body, reason, message):
    found = answer(status, body)
    assert (found.kind, found.reason, found.message) == (UNAVAILABLE, reason, message)


@pytest.mark.parametrize(
    ("found", "may_still_act"),
    [
        (no_answer("timeout", "no answer within 30 s"), True),
        (answer(504, HTML), True),
        (answer(503, HTML), True),
        (answer(500, HTML), True),
        (answer(520, {}), True),
        (answer(202, {"status": "accepted"}), True),
        (answer(500, refusal(message="no")), False),
        (answer(503, {"errorKey": "GENERIC_ERROR_KEY"}), False),
        (answer(404, HTML), False),
        (answer(200, HTML), False),
        (answer(200, {"success": True}), False),
        (answer(422, refusal(message="no")), False),
        (Answer(AnswerKind.WITHHELD), False),
    ],
)
def test_cordial_may_still_do_what_it_has_not_answered_or_a_gateway_stopped_waiting_for(found, may_still_act):
    assert found.may_still_act is may_still_act


def test_no_answer_at_all_is_trouble_of_the_account():
    found = no_answer("timeout", "x" * 1_000)
    assert (found.kind, found.status, found.reason, len(found.message)) == (UNAVAILABLE, None, "timeout", 500)


@pytest.mark.parametrize(
    ("retry_after", "reset", "seconds"), [(None, None, 0), (3, None, 3), (None, 4, 4), (3, 4, 4), (4, 3, 4), (0, 2, 2)]
)
def test_a_refused_call_waits_for_the_later_of_what_it_is_told(retry_after, reset, seconds):
    limits = Limits(retry_after_seconds=retry_after, reset_seconds=reset)
    assert limits.wait_seconds == seconds


@pytest.mark.parametrize("header", ["Retry-After", "X-Rate-Limit-Reset"])
@pytest.mark.parametrize(("more", "is_cut"), [(-1, False), (0, False), (1, True)])
def test_a_wait_is_cut_to_six_hours_and_that_is_told(header, more, is_cut):
    limits = read_limits({header: str(int(MAX_WAIT_SECONDS) + more)}, NOW_MS)
    assert (limits.wait_seconds, limits.is_cut) == (MAX_WAIT_SECONDS + min(more, 0), is_cut)


def test_one_wait_that_is_too_long_is_told_whatever_the_other_says():
    assert read_limits({"Retry-After": "99999", "X-Rate-Limit-Reset": "5"}, NOW_MS).is_cut
    assert read_limits({"Retry-After": "5", "X-Rate-Limit-Reset": "99999"}, NOW_MS).is_cut
    assert not read_limits({"Retry-After": "5", "X-Rate-Limit-Reset": "5"}, NOW_MS).is_cut
    assert not read_limits({"X-Rate-Limit-Remaining": "5"}, NOW_MS).is_cut


def test_each_header_of_a_limit_is_read_by_itself():
    assert read_limits({"X-Rate-Limit-Limit": "7"}, NOW_MS).limit == 7
    assert read_limits({"X-Rate-Limit-Remaining": "0"}, NOW_MS).remaining == 0
    assert read_limits({"X-Rate-Limit-Reset": "0"}, NOW_MS).reset_seconds == 0
    assert read_limits({"Retry-After": "0"}, NOW_MS).retry_after_seconds == 0
    assert read_limits({"X-Rate-Limit-Limit": "1e300", "X-Rate-Limit-Remaining": "1e300"}, NOW_MS).remaining == 2**53


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ({"_id": "1", "lists": ["a"]}, {"a"}),
        ({"_id": "1", "attributes": {"lists": ["b"]}}, {"b"}),
        ({"_id": "1"}, None),
        ({"lists": ["a"]}, None),
        ([], None),
        (None, None),
    ],
)
def test_the_lists_in_a_contacts_document(document, names):
    assert list_names_of(document) == names


def test_words_are_taken_from_the_first_places_and_not_too_deep():
    nested: object = "deep"
    for _ in range(6):
        nested = [nested]
    assert list(leaves_of(nested)) == ["deep"]
    assert list(leaves_of([nested])) == []
    for _ in range(100):
        nested = {"a": nested}
    assert list(leaves_of(nested)) == []
    assert list(leaves_of(["a", "", {"b": "c"}, 7, None])) == ["a", "c"]
    assert 1 < len(list(leaves_of(["x"] * 10_000))) < 10_000


@pytest.mark.parametrize(
    ("words", "logged"),
    [
        ("Jane@X.com is not an email", "HTTP 422"),
        ("the contact email:jane@x.com is locked", "HTTP 422"),
        ("the address is not valid", "the address is not valid"),
    ],
)
def test_what_is_logged_of_cordials_words_repeats_no_user_id(words, logged):
    found = answer(422, refusal(message=words))
    assert found.message_without("email:jane@x.com") == logged
    assert found.message_without("") == words
