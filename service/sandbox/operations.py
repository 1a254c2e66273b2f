"""The calls of Cordial's contract that the stand-in answers, and which contact each is about."""

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from service.sandbox import contacts, lists
from service.sandbox.addressing import Target, target_of_body, target_of_path
from service.sandbox.answers import Answer, json_answer
from service.sandbox.state import SandboxState


class Call(msgspec.Struct, frozen=True, gc=False):
    """A call as it came: `{key}` or `{id}` of its path decoded, its query, its body (empty if it takes none)."""

    path_value: str
    query: Mapping[str, str]
    body: dict[str, object]


class Operation(msgspec.Struct, frozen=True):
    """One (method, endpoint): what carries a call out, and whom it addresses; lists address nobody.

    What must wait for others, as an import does for the server of its file, answers later.
    """

    method: str
    endpoint: str
    run: Callable[[SandboxState, Call], Answer | Awaitable[Answer]]
    target: Callable[[SandboxState, Call], Target] | None = None
    takes_body: bool = False


def _attributes(state: SandboxState) -> Answer:
    return json_answer(
        200,
        [
            {"key": key, "name": key, "type": kind, "unique": key in state.secondary_keys}
            for key, kind in state.attributes.items()
        ],
    )


def _target_of_path(state: SandboxState, call: Call) -> Target:
    return target_of_path(state, call.path_value)


CONTACTS = "/v2/contacts"
CONTACT = "/v2/contacts/{key}"
LISTS = "/v2/accountlists"
LIST = "/v2/accountlists/{id}"

OPERATIONS = (
    Operation(
        "POST",
        CONTACTS,
        lambda state, call: contacts.post_contact(state, call.body),
        lambda state, call: target_of_body(state, call.body),
        takes_body=True,
    ),
    Operation(
        "PUT",
        CONTACT,
        lambda state, call: contacts.put_contact(state, call.path_value, call.body),
        _target_of_path,
        takes_body=True,
    ),
    Operation("GET", CONTACT, lambda state, call: contacts.get_contact(state, call.path_value), _target_of_path),
    Operation("DELETE", CONTACT, lambda state, call: contacts.delete_contact(state, call.path_value), _target_of_path),
    Operation("GET", CONTACTS, lambda state, call: contacts.find_contacts(state, call.query)),
    Operation("POST", LISTS, lambda state, call: lists.create_list(state, call.body), takes_body=True),
    Operation("GET", LISTS, lambda state, call: lists.find_lists(state, call.query.get("name"))),
    Operation("GET", LIST, lambda state, call: lists.get_list(state, call.path_value)),
    Operation("PUT", LIST, lambda state, call: lists.update_list(state, call.path_value, call.body), takes_body=True),
    Operation("DELETE", LIST, lambda state, call: lists.delete_list(state, call.path_value)),
    Operation("GET", f"{LIST}/count", lambda state, call: lists.count_list(state, call.path_value)),
    Operation("PUT", f"{LIST}/clear", lambda state, call: lists.clear_list(state, call.path_value)),
    Operation("GET", "/v2/accountcontactattributes", lambda state, _call: _attributes(state)),
)
