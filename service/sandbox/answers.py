"""The answers of Cordial's contract, word for word where the contract gives words."""

import msgspec

_GENERIC = "GENERIC_ERROR_KEY"


class Answer(msgspec.Struct, frozen=True, gc=False):
    """An HTTP status, a body (JSON unless the headers say otherwise), and headers beyond the usual."""

    status: int
    body: bytes
    headers: dict[str, str] = {}


class RefusalError(Exception):
    """A call that Cordial's contract refuses; nothing of it has taken effect."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body.decode())
        self.answer = answer


def json_answer(status: int, document: object) -> Answer:
    """Return `document` as JSON under `status`."""
    return Answer(status, msgspec.json.encode(document))


def error(status: int, message: str, error_key: str = _GENERIC) -> Answer:
    """Return the common error document: `error`, `errorKey`, `message`."""
    return json_answer(status, {"error": True, "errorKey": error_key, "message": message})


def contact_error(field: str, message: str) -> Answer:
    """Return a 422 about one field of a contact write, in the form with `messages`."""
    return json_answer(422, {"error": True, "errorKey": _GENERIC, "messages": {field: [message]}})


def import_error(message: str) -> Answer:
    """Return the 201 of an import that cannot begin: an error in place of the job's id."""
    return json_answer(201, {"jobId": {"error": True, "errorKey": _GENERIC, "message": message}})


def validation_errors(errors: dict[str, list[str]]) -> Answer:
    """Return the 422 for keys that do not fit the account's schema."""
    return json_answer(422, {"error": True, "messages": {"validationErrors": errors}})


def too_many_requests(headers: dict[str, str]) -> Answer:
    """Return the 429; the contract gives its headers and leaves its body open."""
    return Answer(429, _TOO_MANY_REQUESTS.body, headers)


_TOO_MANY_REQUESTS = error(429, "Too Many Requests")
SUCCESS = json_answer(200, {"success": True})
# The one answer whose `error` is a text and not `true`.
AUTHENTICATION_FAILED = json_answer(401, {"error": "Access Denied: Authentication Failure"})
RECORD_NOT_FOUND = error(404, "record not found", "RECORD_NOT_FOUND")
# As a web server before Cordial's program answers where a path leads nowhere.
NO_SUCH_PATH = Answer(404, b"<html><body>Not Found</body></html>", {"Content-Type": "text/html"})
LIST_DOES_NOT_EXIST = error(404, "List does not exist", "ACCOUNT_LISTS_NOT_FOUND")
LIST_NOT_FOUND = error(404, "List is not found")
SEARCH_FIELD_INCORRECT = contact_error("searchField", "Search field is not correct")
UNSUPPORTED_MEDIA_TYPE = error(415, "Unsupported Media Type")
BODY_UNREADABLE = error(422, "The body must be a JSON object.")
