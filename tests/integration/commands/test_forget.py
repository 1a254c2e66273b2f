"""`forget` from the terminal, against the running service: Cordial's list, the store's bytes, the log."""

from tests.command_fixtures import eventually

JANE, JOHN = "Jane.Roe@Example.com", "john.doe@example.com"


async def test_a_user_is_off_the_list_and_out_of_the_files(installation, cordial):
    async with installation.serving():
        await installation.deliver("Active Users", (JANE, JOHN), task="task-1")
        await eventually(lambda: installation.figures("settled"), [2])
        done = await installation.run("forget", JANE, "--wait")
        again = await installation.run("forget", JANE, "--wait")
        assert cordial.state.members("ActiveUsers") == [JOHN]
        await eventually(lambda: in_files(installation, JANE), list[str]())
        assert await in_files(installation, JOHN) != []
    assert (done.status, again.status) == (0, 0)
    assert done.output.startswith("acme: 1 membership is being erased.\nErased here.\n")
    assert again.output.startswith("acme: 0 memberships are being erased.\nErased here.\n")
    assert JANE.lower() not in installation.log.read_text().lower()
    assert "user.erased" in installation.log.read_text()


async def test_a_user_can_be_forgotten_here_alone(installation, cordial):
    async with installation.serving():
        await installation.deliver("Active Users", (JANE, JOHN), task="task-1")
        await eventually(lambda: installation.figures("settled"), [2])
        done = await installation.run("forget", JANE, "--keep-on-lists", "--account", "acme", "--wait")
        await eventually(lambda: in_files(installation, JANE), list[str]())
    assert done.status == 0
    assert "The lists in Cordial keep the user: acme.\n" in done.output
    assert cordial.state.members("ActiveUsers") == sorted([JANE.lower(), JOHN])


async def test_a_removal_that_waits_for_its_account_says_so(installation, cordial):
    async with installation.serving():
        await installation.deliver("Active Users", (JANE,), task="task-1")
        await eventually(lambda: installation.figures("settled"), [1])
        await installation.run("pause", "acme")
        done = await installation.run("forget", JANE)
        unknown = await installation.run("forget", JANE, "--account", "nobody")
        nobody = await installation.run("forget", JOHN)
        await installation.run("resume", "acme")
        again = await installation.run("forget", JANE, "--wait")
    assert done.output.startswith(
        "acme: 1 membership is being erased.\n"
        "Nothing is sent for acme until somebody resumes it: `heap-cordial resume acme`.\n"
        "In progress. With --wait, the command waits for the end.\n"
    )
    assert (unknown.status, unknown.errors) == (1, "there is no account of this name\n")
    assert "Nothing is sent" not in nobody.output
    assert "\nErased here.\n" in again.output
    assert cordial.state.members("ActiveUsers") == []


async def in_files(installation, user: str) -> list[str]:
    files = [path for path in installation.database.parent.iterdir() if path.is_file()]
    return [path.name for path in files if user.lower().encode() in path.read_bytes().lower()]
