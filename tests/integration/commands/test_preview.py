"""A dry run as an operator meets it: look at what would be sent, then let it go."""

import msgspec

from tests.command_fixtures import eventually

DRY_RUN = "HEAP_CORDIAL__ACCOUNTS__ACME__DRY_RUN"


async def test_a_segment_is_looked_at_before_any_of_it_is_sent(installation, cordial):
    installation.environment[DRY_RUN] = "true"
    # Known to Cordial: a removal that finds nobody is looked at a second time, and owed until then.
    cordial.state.create_contact("email:gone@example.com", "gone@example.com")
    async with installation.serving():
        await installation.deliver("Active Users", ("jane@example.com",), ("gone@example.com",), task="task-1")
        await eventually(lambda: installation.figures("pending"), [2])
        preview = await installation.run("preview", "Active Users")
        one_call = await installation.run("preview", "Active Users", "--calls", "1", "--json")
        status = await installation.run("status")
    assert (preview.status, preview.errors) == (0, "")
    assert preview.output.splitlines() == [
        "list       ActiveUsers would be created",
        "to send    1 to add, 1 to remove",
        "dry run    yes, none of this is sent",
        'POST /v2/accountlists {"name":"ActiveUsers","enhanced":true}',
        (
            'POST /v2/contacts {"channels":{"email":{"address":"jane@example.com"}},"ActiveUsers":true,'
            '"suppressTriggers":true}'
        ),
        'PUT /v2/contacts/email:gone%40example.com {"ActiveUsers":false,"suppressTriggers":true}',
    ]
    document = msgspec.json.decode(one_call.output)
    assert (len(document["calls"]), document["more_calls"]) == (1, True)
    assert "acme: dry run: nothing is written to Cordial" in status.output
    assert {call.method for call in cordial.journal.recent} == {"GET"}
    installation.environment[DRY_RUN] = "false"
    async with installation.serving():
        await eventually(lambda: installation.figures("settled", "pending"), [1, 0])
        after = await installation.run("preview", "ActiveUsers")
    assert after.output.splitlines() == [
        "list       ActiveUsers exists and is ours",
        "to send    0 to add, 0 to remove",
        "dry run    no, this may already have been sent",
    ]
    assert cordial.state.members("ActiveUsers") == ["jane@example.com"]


async def test_a_list_that_nobody_knows_is_told(installation):
    async with installation.serving():
        ended = await installation.run("preview", "Nobody's")
    assert ended.status == 1
    assert ended.errors.startswith("there is no list or segment named Nobody's; `heap-cordial lists` shows all\n")
