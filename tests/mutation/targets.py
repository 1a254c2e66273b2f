"""What is mutated: the files in which order, settling, limits, evidence and identity are decided, and their fast tests."""

from typing import NamedTuple

_DELIVER = "tests/unit/deliver"
_STORE = "tests/integration/store"
_LEDGER_TESTS = tuple(
    f"{_STORE}/test_store_{name}.py"
    for name in (
        "ordering",
        "spellings",
        "drain",
        "outcomes",
        "steering",
        "proofs",
        "confirmed",
        "inbox",
        "guard",
        "retention",
        "erasure",
        "against_model",
    )
)


class Target(NamedTuple):
    """Files below `service`, without it, and the tests that must notice when one of them is wrong."""

    rule: str
    files: tuple[str, ...]
    tests: tuple[str, ...]


TARGETS = (
    Target(
        "ordering",
        (
            "store/sqlite/precedence.py",
            "store/sqlite/queries/precedence.sql",
            "store/sqlite/folding.py",
            "store/sqlite/queries/fold.sql",
        ),
        _LEDGER_TESTS,
    ),
    Target(
        "settling",
        (
            "store/sqlite/ledger.py",
            "store/sqlite/queries/ledger.sql",
            "store/sqlite/settling.py",
            "store/sqlite/queries/settle.sql",
        ),
        (*_LEDGER_TESTS, "tests/unit/test_states.py"),
    ),
    Target("settling", ("deliver/settler.py",), (f"{_DELIVER}/test_settler.py",)),
    Target("limiter", ("deliver/rate/limiter.py",), (f"{_DELIVER}/test_limiter.py", f"{_DELIVER}/test_adaptive.py")),
    Target("limiter", ("deliver/rate/pace.py",), (f"{_DELIVER}/test_pace.py", f"{_DELIVER}/test_adaptive.py")),
    Target("limiter", ("deliver/rate/own_limits.py",), (f"{_DELIVER}/test_own_limits.py",)),
    Target(
        "evidence",
        ("deliver/cordial/evidence.py", "deliver/cordial/answers.py"),
        (f"{_DELIVER}/test_answers.py",),
    ),
    Target("evidence", ("deliver/blame.py",), (f"{_DELIVER}/test_blame.py",)),
    Target("evidence", ("deliver/circuit.py",), (f"{_DELIVER}/test_circuit.py",)),
    Target("evidence", ("backoff.py", "deliver/retry.py"), ("tests/unit/test_backoff.py", f"{_DELIVER}/test_retry.py")),
    Target("identity", ("model/contacts.py",), ("tests/unit/test_contacts.py", "tests/unit/test_payload.py")),
    Target("identity", ("store/sqlite/spellings.py", "store/sqlite/queries/spelling.sql"), _LEDGER_TESTS),
)
