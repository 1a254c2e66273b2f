"""One configuration names one store, for the service and for every command, in whatever folder it is run."""

import msgspec

from tests.command_fixtures import Installation, eventually
from tests.ports import free_port


async def names_another_store(installation: Installation) -> str:
    """Let the commands, but not the service that runs, have another store; return the service's own."""
    own = str(installation.database)
    other = installation.folder / "elsewhere" / "other.db"
    installation.environment["HEAP_CORDIAL__STORE__PATH"] = str(other)
    return own


async def test_a_command_with_another_store_than_the_service_refuses(installation):
    async with installation.serving():
        await installation.deliver("Active Users", ("jane@example.com",), task="task-1")
        await eventually(lambda: installation.figures("settled"), [1])
        backup = installation.folder / "backup.db"
        assert (await installation.run("backup", "--to", str(backup))).status == 0
        own = await names_another_store(installation)
        words = f"the service at {installation.url} uses {own}, but this configuration names "
        for command in (("status",), ("backup", "--to", str(backup) + "2"), ("restore", "--from", str(backup))):
            ended = await installation.run(*command)
            assert (ended.status, ended.output) == (1, ""), command
            assert words in ended.errors
            assert "--config" in ended.errors
        assert not (installation.folder / "elsewhere").exists()
        found = msgspec.json.decode((await installation.run("check", "--json")).output)
        assert [fault for fault in found["faults"] if words in fault]


async def test_nothing_is_restored_beside_a_service_that_does_not_know_the_key(installation):
    async with installation.serving():
        backup = installation.folder / "backup.db"
        assert (await installation.run("backup", "--to", str(backup))).status == 0
        key = installation.folder / "other-key"
        key.write_text("another key")
        key.chmod(0o600)
        installation.environment["HEAP_CORDIAL__SERVER__API_KEY_FILE"] = str(key)
        ended = await installation.run("restore", "--from", str(backup), "--force")
        assert ended.status == 1
        assert "does not say which store it uses" in ended.errors
        found = msgspec.json.decode((await installation.run("check", "--json")).output)
        assert any("does not say which store it uses" in fault for fault in found["faults"])
        # What only reads goes on: whoever lost the key needs it most.
        looked = await installation.run("status")
        assert (looked.status, "does not say which store" in looked.errors) == (0, True)


async def test_the_same_file_by_another_name_is_the_same_store(installation):
    async with installation.serving():
        link = installation.folder / "link"
        link.symlink_to(installation.database.parent)
        installation.environment["HEAP_CORDIAL__STORE__PATH"] = str(link / installation.database.name)
        ended = await installation.run("check")
        assert (ended.status, ended.errors) == (0, "")
        assert (await installation.run("status")).status == 0


async def test_where_no_service_runs_the_configured_store_is_used(installation):
    installation.environment["HEAP_CORDIAL__SERVER__PORT"] = str(free_port())
    ended = await installation.run("status")
    assert "cannot be read" in ended.errors
    assert str(installation.database) in ended.errors
