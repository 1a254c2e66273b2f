import hashlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config.settings import AccountSettings, SecretReference
from service.errors import ErrorCode, ServiceError
from service.model.contacts import canonical
from service.model.deliveries import Action, Delivery, UserIds
from service.receive.delivery import resolve_identity, to_delivery
from service.receive.payload import decode_page


def account(**settings: Any) -> AccountSettings:
    return AccountSettings(
        name="acme", heap_secrets=(), cordial_api_key=SecretReference(environment="UNUSED"), **settings
    )


def page(**data: Any) -> dict[str, Any]:
    return {
        "action_type": "segment.users.sync",
        "data": {
            "segment": {"id": 1, "name": "S"},
            "sync_info": {"page_number": 1, "total_pages": 1, "sync_task_id": "t"},
        }
        | data,
    }


def deliver(document: Any, **settings: Any) -> Delivery:
    body = document if isinstance(document, bytes) else json.dumps(document, ensure_ascii=False).encode()
    return to_delivery(
        decode_page(body), account(**settings), body=body, timestamp_text="1700000000000", received_at_ms=5
    )


def refusal_of(document: Any, **settings: Any) -> tuple[ErrorCode, str | None, str]:
    with pytest.raises(ServiceError) as caught:
        deliver(document, **settings)
    return caught.value.code, caught.value.path, caught.value.message


def add_of_raw(raw_id: bytes, **settings: Any) -> Delivery:
    """Deliver a page whose second of three users has an id written exactly as given."""
    body = json.dumps(page(add=[{"id": "a"}, {"id": "HERE"}, {"id": "b"}])).encode()
    return deliver(body.replace(b'"HERE"', raw_id), **settings)


def test_a_page_of_the_spec_becomes_a_delivery():
    body = json.dumps(page(add=[{"id": "A@x.com"}], remove=[{"id": "b@x.com"}])).encode()
    assert deliver(body) == Delivery(
        account="acme",
        action=Action.SYNC,
        segment_id="1",
        segment_name="S",
        task_id="t",
        page_number=1,
        total_pages=1,
        digest=hashlib.sha256(body).digest(),
        identity="email",
        add=UserIds.of(["A@x.com"], "email"),
        remove=UserIds.of(["b@x.com"], "email"),
        rejected=[],
        rejected_count=0,
        received_at_ms=5,
        signed_at_ms=1_700_000_000_000,
    )


@pytest.mark.parametrize("segment_id", [15225086, "15225086", 15225086.0, "15225086 "])
def test_a_segment_id_is_text_whatever_it_was(segment_id):
    assert deliver(page(segment={"id": segment_id, "name": "S"})).segment_id.strip() == "15225086"


@pytest.mark.parametrize("name", [None, "", "  "])
def test_a_segment_without_a_name_is_called_by_its_id(name):
    assert deliver(page(segment={"id": 7, "name": name})).segment_name == "7"
    assert deliver(page(segment={"id": 7})).segment_name == "7"


def test_broken_text_in_a_segment_name_is_replaced():
    body = json.dumps(page(segment={"id": 7, "name": "a\ud800b"})).encode()
    assert deliver(body).segment_name == "a\ufffdb"


@pytest.mark.parametrize(("number", "total"), [(2, 3), ("2", "3"), (2.0, 3.0), ("2", 3), (" 2 ", 3)])
def test_page_numbers_may_be_text(number, total):
    delivery = deliver(page(sync_info={"page_number": number, "total_pages": total, "sync_task_id": "t"}))
    assert (delivery.page_number, delivery.total_pages) == (2, 3)


@pytest.mark.parametrize(
    "config",
    [
        {},
        None,
        [],
        "x",
        {"fields": None},
        {"fields": {}},
        {"fields": [None, 1, {}, {"field_type": "identity_mapping"}]},
        {"fields": [{"field_type": "identity_mapping", "value": "email"}]},
        {"fields": [{"field_type": 1, "value": {"id": ["x"]}}]},
    ],
)
def test_a_strange_customer_config_costs_nothing(config):
    document = page(add=[{"id": "a"}]) | {"customer_config": config, "id_token": 5}
    assert list(deliver(document).add) == ["a"]


@pytest.mark.parametrize("data", [{}, {"add": None, "remove": None}, {"add": [], "remove": []}, {"add": []}])
def test_lists_may_be_absent_null_or_empty(data):
    delivery = deliver(page(**data))
    assert (list(delivery.add), list(delivery.remove), delivery.rejected_count) == ([], [], 0)


def test_unknown_fields_are_ignored_at_every_level():
    document = page(add=[{"id": "a", "name": {"deep": [1.5]}}], more={"x": None}) | {"version": 2}
    document["data"]["segment"]["kind"] = "cohort"
    document["data"]["sync_info"]["mode"] = 1
    assert list(deliver(document).add) == ["a"]


def test_a_user_in_both_lists_is_removed_and_each_counts_once():
    delivery = deliver(
        page(
            add=[{"id": "c"}, {"id": "b"}, {"id": "B "}, {"id": "a"}, {"id": "C"}, {"id": "c"}],
            remove=[{"id": "b"}, {"id": "d"}, {"id": "b"}],
        )
    )
    assert (list(delivery.add), list(delivery.remove)) == (["c", "a", "B ", "C"], ["b", "d"])


@pytest.mark.parametrize(
    ("sent", "as_email", "as_key"),
    [
        (" Jane@X.com ", "jane@x.com", " Jane@X.com "),
        ("JOSÉ@X.com", "josÉ@x.com", "JOSÉ@X.com"),
        ("\u00a0a@x.com\n", "\u00a0a@x.com", None),
        ("東京 1", "東京 1", "東京 1"),
        ("user", "user", "user"),
        ("x\u200dy", "x\u200dy", "x\u200dy"),
        ("NULL", None, "NULL"),
    ],
)
def test_an_id_is_the_contact_that_the_identity_makes_of_it(sent, as_email, as_key):
    for identity, expected in (("email", as_email), ("customerId", as_key)):
        delivery = deliver(page(add=[{"id": sent}]), identify_by=identity)
        assert delivery.identity == identity
        assert list(delivery.add) == ([] if expected is None else [sent])
        assert [canonical(user_id, identity) for user_id in delivery.add] == ([] if expected is None else [expected])
        assert delivery.rejected_count == (expected is None)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"12345", "12345"),
        (b"12345.0", "12345"),
        (b"1.2345e4", "12345"),
        (b"-7", "-7"),
        (b"-0", "0"),
        (b"0.50", "0.5"),
        (b"18446744073709551616", "18446744073709551616"),
        (b"123456789012345678901234567890.0", "123456789012345678901234567890"),
        (b"12345678901234567.25", "12345678901234567.25"),
    ],
)
def test_a_number_becomes_its_exact_decimal_text(raw, text):
    assert list(add_of_raw(raw).add) == ["a", text, "b"]


@pytest.mark.parametrize(
    ("raw", "reason", "value"),
    [
        (b'""', "empty", ""),
        (b'"  "', "empty", "  "),
        (b'"\\u00a0"', "empty", "\\xa0"),
        (b"null", "null", "null"),
        (b"true", "boolean", "true"),
        (b"{}", "object", "{}"),
        (b'{"id":1}', "object", "{…}"),
        (b'["x"]', "list", "[…]"),
        (b'"undefined"', "placeholder", "undefined"),
        (b'" null "', "placeholder", " null "),
        (b'"' + b"x" * 256 + b'"', "too_long", "x" * 64),
        (b"1" * 256, "too_long", "1" * 64),
        (b"1" * 5000, "too_long", "Infinity"),
        (b"1e400", "too_long", "1E+400"),
        (b"1e999999999", "too_long", "1E+999999999"),
        (b"1e" + b"9" * 30, "too_long", "Infinity"),
        (b'"x\\u0000y"', "control_characters", "x\\x00y"),
        (b'"x\x01y"', "control_characters", "x\\x01y"),
        (b'"x\\u0085y"', "control_characters", "x\\x85y"),
        (b'"x\\ud800y"', "broken_text", "x\\ud800y"),
        (b'"x\xffy"', "broken_text", "x\\udcffy"),
        (b'"x\xed\xa0\x80y"', "broken_text", "x\\udced\\udca0\\udc80y"),
    ],
)
@pytest.mark.parametrize("identity", ["email", "customerId"])
def test_one_unusable_user_costs_only_itself(raw, reason, value, identity):
    delivery = add_of_raw(raw, identify_by=identity)
    assert list(delivery.add) == ["a", "b"]
    assert delivery.rejected_count == 1
    [rejected] = delivery.rejected
    assert (rejected.path, rejected.reason, rejected.value) == ("$.data.add[1].id", reason, value)


@pytest.mark.parametrize("item", [None, "a@x.com", 5, [], True])
def test_an_item_that_is_no_object_costs_only_itself(item):
    delivery = deliver(page(add=[{"id": "a"}, item, {}], remove=[{"id": "b"}]))
    assert (list(delivery.add), list(delivery.remove)) == (["a"], ["b"])
    assert [(each.path, each.reason) for each in delivery.rejected] == [
        ("$.data.add[1]", "not_an_object"),
        ("$.data.add[2].id", "missing"),
    ]


def test_the_list_of_rejected_users_is_cut_and_their_count_is_whole():
    delivery = deliver(page(add=[{"id": None}] * 900, remove=[{"id": ""}] * 900))
    assert (len(delivery.rejected), delivery.rejected_count) == (1000, 1800)


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ([], "$"),
        ("text", "$"),
        ({}, "$.action_type"),
        (page() | {"data": None}, "$.data"),
        (page(segment=None), "$.data.segment"),
        (page(segment={}), "$.data.segment.id"),
        (page(segment={"id": True}), "$.data.segment.id"),
        (page(segment={"id": " "}), "$.data.segment.id"),
        (page(segment={"id": "x" * 256}), "$.data.segment.id"),
        (page(sync_info=None), "$.data.sync_info"),
        (page(sync_info=[]), "$.data.sync_info"),
        (page(sync_info={"page_number": 1, "total_pages": 1}), "$.data.sync_info.sync_task_id"),
        (page(sync_info={"page_number": 1, "total_pages": 1, "sync_task_id": ""}), "$.data.sync_info.sync_task_id"),
        (page(sync_info={"total_pages": 1, "sync_task_id": "t"}), "$.data.sync_info.page_number"),
        (page(sync_info={"page_number": 1.5, "total_pages": 1, "sync_task_id": "t"}), "$.data.sync_info.page_number"),
        (page(sync_info={"page_number": 2**31, "total_pages": 1, "sync_task_id": "t"}), "$.data.sync_info.page_number"),
        (page(sync_info={"page_number": 1, "total_pages": "x", "sync_task_id": "t"}), "$.data.sync_info.total_pages"),
        (page(add={}), "$.data.add"),
        (page(remove="x"), "$.data.remove"),
    ],
)
def test_a_wrong_shape_is_named_by_its_path(document, path):
    code, at, message = refusal_of(document)
    assert (code, at) == (ErrorCode.UNKNOWN_SHAPE, path)
    assert message.startswith("expected ")


def test_an_unknown_action_is_refused_by_name():
    code, path, message = refusal_of(page() | {"action_type": "segment.users.merge"})
    assert (code, path) == (ErrorCode.UNKNOWN_ACTION, "$.action_type")
    assert "segment.users.sync" in message


@pytest.mark.parametrize("body", [b"", b"{", b"nope", b'{"a":Infinity}', b"[" * 10_000, b'{"a":1} x'])
def test_what_is_not_json_is_refused(body):
    assert refusal_of(body)[0] is ErrorCode.BODY_UNREADABLE


DRAIN = {"action_type": "segment.users.drain", "customer_config": {}, "data": {"segment": {"id": 7, "name": "S"}}}


def test_a_drain_is_named_by_its_timestamp_and_carries_nobody():
    delivery = deliver(DRAIN, allow_drain=True, identify_by="auto")
    assert (delivery.action, delivery.task_id) == (Action.DRAIN, "drain:1700000000000")
    assert (delivery.page_number, delivery.total_pages) == (1, 1)
    assert (list(delivery.add), list(delivery.remove), delivery.identity) == ([], [], "")


def test_a_drain_is_refused_where_it_is_not_allowed():
    code, path, message = refusal_of(DRAIN)
    assert (code, path) == (ErrorCode.UNKNOWN_ACTION, "$.action_type")
    assert "allow_drain" in message


def test_the_identity_follows_the_mapping_of_the_page():
    settings = account(identify_by="auto", identities={"uid": "customerId"})
    assert resolve_identity(settings, "uid") == "customerId"
    assert resolve_identity(settings, "Email") == "email"
    for unknown in ("phone", None):
        with pytest.raises(ServiceError) as caught:
            resolve_identity(settings, unknown)
        assert (caught.value.code, caught.value.status) == (ErrorCode.NOT_READY, 503)
        assert caught.value.retry_after_seconds
    assert resolve_identity(account(identify_by="customerId"), "email") == "customerId"


@pytest.mark.parametrize("loose", [False, True])
def test_the_mapping_is_found_on_a_page_that_is_read_leniently_too(loose):
    config = {"fields": [{"field_type": "other"}, {"field_type": "identity_mapping", "value": {"id": "uid"}}]}
    document = page(add=[{"id": None if loose else "x"}]) | {"customer_config": config}
    assert deliver(document, identify_by="auto", identities={"uid": "customerId"}).identity == "customerId"


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
any_user = st.fixed_dictionaries({"id": any_json}) | any_json
usual_user = st.fixed_dictionaries({"id": st.emails() | st.text(max_size=20) | st.integers()})


@given(
    add=st.lists(usual_user | any_user, max_size=8),
    remove=st.lists(usual_user | any_user, max_size=8),
    identity=st.sampled_from(["email", "customerId"]),
)
def test_every_user_is_either_usable_or_rejected_and_can_be_stored(add, remove, identity):
    delivery = deliver(json.dumps(page(add=add, remove=remove)).encode(), identify_by=identity)
    assert delivery.rejected_count == len(delivery.rejected) <= len(add) + len(remove)
    assert len(delivery.add) + len(delivery.remove) + delivery.rejected_count <= len(add) + len(remove)
    assert set(delivery.add).isdisjoint(delivery.remove)
    for users in (delivery.add, delivery.remove):
        assert len(users) == len(set(users))
        assert all(user.strip() and len(user) <= 255 and "\x00" not in user for user in users)
    msgspec.json.encode(delivery)


@given(st.lists(st.text(max_size=12), max_size=12), st.sampled_from(["email", "customerId"]))
def test_a_user_is_judged_alike_alone_and_among_others(ids, identity):
    """A page all of whose ids are usual is read by another path than one with a single strange id."""
    together = deliver(page(add=[{"id": each} for each in ids]), identify_by=identity)
    beside_a_number = deliver(page(add=[{"id": each} for each in ids] + [{"id": 0.5}]), identify_by=identity)
    alone = [deliver(page(add=[{"id": each}]), identify_by=identity) for each in ids]
    expected = {user for delivery in alone for user in delivery.add}
    assert sorted(together.add) == sorted(expected)
    assert sorted(beside_a_number.add) == sorted({*expected, "0.5"})
    assert together.rejected_count == sum(delivery.rejected_count for delivery in alone)


def outcome_of(body: bytes) -> object:
    try:
        return type(decode_page(body))
    except ServiceError as error:
        return error.code


@given(st.binary(max_size=100) | any_json.map(lambda value: json.dumps(value).encode()))
def test_a_body_that_is_no_page_is_refused_and_nothing_else(body):
    assert outcome_of(body) in {ErrorCode.BODY_UNREADABLE, ErrorCode.UNKNOWN_SHAPE, ErrorCode.UNKNOWN_ACTION}


@given(any_json, st.sampled_from(["action_type", "data", "customer_config", "id_token", "segment", "sync_info", "add"]))
def test_any_value_in_any_place_is_understood_or_refused(value, place):
    document = page(add=[{"id": "a"}])
    (document["data"] if place in {"segment", "sync_info", "add"} else document)[place] = value
    result = outcome_of(json.dumps(document).encode())
    assert result in {ErrorCode.UNKNOWN_SHAPE, ErrorCode.UNKNOWN_ACTION} or isinstance(result, type)
