"""An action and its line in the audit do not part, whenever the service dies: what cannot be audited is not done."""

import msgspec
import pytest

from service.commands.reloading import Reloader
from service.config.settings import Settings
from tests.api_fixtures import ApiWorld
from tests.integration.api.test_api_actions import deliver_with_refusals
from tests.service_fixtures import audit_refused, users

_STATE = (
    "SELECT contact, segment_id, wanted, state FROM member",
    "SELECT contact, dead, failures FROM failure",
    "SELECT contact FROM read_back",
    "SELECT contact FROM erasure",
    "SELECT paused_by_operator FROM account",
    "SELECT list_state, list_count FROM segment",
    "SELECT refused FROM unnamed",
)
ACTIONS: tuple[tuple[str, dict[str, object]], ...] = (
    ("failures/retry", {}),
    ("lists/1/verify", {}),
    ("lists/1/rebuild", {"include_removed": True}),
    ("lists/2/approve", {}),
    ("lists/1/members/audience", {"page": 1}),
    ("lists/1/members/read-back", {"contacts": ["email:user0@example.com"]}),
    ("imports/1/rejected", {"addresses": ["user0@example.com"]}),
    ("accounts/acme/pause", {}),
    ("accounts/acme/trial", {"contacts": ["trial@example.org"]}),
    ("forget", {"user": "user0@example.com"}),
    ("reload", {}),
)


@pytest.fixture
async def world_to_steer(world):
    world.expected_exceptions.add("store.fault")
    await deliver_with_refusals(world, "Heap Test", users(2), users(1, "bad"))
    world.reload = Reloader(lambda: in_dry_run(world)).reload
    await world.restart(hold_new_segments=True)
    await world.deliver("New", users(1), segment_id=2)
    await world.until(lambda: world.rows("SELECT 1 FROM segment WHERE list_state = 'held'"))
    import_row = "INSERT INTO bulk_import (id, account_id, state, segments, gathered_to, started_at_ms) VALUES (1, 1, 'ended', '[1]', '', 0)"
    row = (
        "INSERT INTO unnamed (account_id, import_id, segments, after_contact, last_contact, contacts, refused, known_failures)"
        " VALUES (1, 1, '[1]', 'email:', 'email;', 2, 1, 0)"
    )
    for statement in (import_row, row, "UPDATE segment SET unnamed = 1 WHERE id = 1"):
        world.execute(statement)
    return world


def in_dry_run(world: ApiWorld) -> Settings:
    account = msgspec.structs.replace(world.account, dry_run=True)
    return msgspec.structs.replace(world.service.settings, accounts={"acme": account})


@pytest.mark.parametrize(("path", "body"), ACTIONS, ids=[path for path, _ in ACTIONS])
async def test_what_cannot_be_audited_is_not_done(world_to_steer: ApiWorld, path, body):
    world = world_to_steer
    before, calls = [world.rows(each) for each in _STATE], len(world.calls())
    with audit_refused(world):
        answer = await world.post(path, body)
        assert answer.status == 500, answer
        assert [world.rows(each) for each in _STATE] == before
        assert not world.service.accounts["acme"].dry_run
        assert len(world.calls()) == calls
