"""What a running service makes of another configuration: nothing is lost between what takes effect and what waits."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from service.config.reloading import plan_reload
from service.config.settings import (
    AccountSettings,
    LogSettings,
    SecretReference,
    ServerSettings,
    Settings,
    StoreSettings,
)

places = st.sampled_from(["a", "b"]).map(lambda name: SecretReference(file=name))


@st.composite
def accounts(draw: st.DrawFn) -> dict[str, AccountSettings]:
    names = draw(st.sets(st.sampled_from(["acme", "shop", "club"]), min_size=1))
    return {
        name: AccountSettings(
            name=name,
            heap_secrets=(draw(places),),
            cordial_api_key=draw(places),
            requests_per_second=draw(st.sampled_from([10.0, 25.0])),
        )
        for name in names
    }


@st.composite
def configurations(draw: st.DrawFn) -> Settings:
    certificate = draw(st.sampled_from(["", "one", "two"]))
    return Settings(
        server=ServerSettings(
            port=draw(st.sampled_from([8080, 9090])),
            max_body_bytes=draw(st.sampled_from([2_000, 3_000])),
            api_keys=tuple(draw(st.lists(places, max_size=2))),
            tls_certificate_file=certificate,
            tls_key_file=certificate,
        ),
        store=StoreSettings(path=draw(st.sampled_from(["x", "y"])), retention_days=draw(st.sampled_from([1, 2]))),
        log=LogSettings(level=draw(st.sampled_from(["info", "debug"]))),
        accounts=draw(accounts()),
    )


@given(configurations(), configurations())
def test_what_runs_afterwards_is_what_was_asked_for_but_for_what_needs_a_restart(running, wanted):
    plan = plan_reload(running, wanted)
    assert plan.settings.accounts == wanted.accounts
    assert (plan.settings.server.port, plan.settings.store.path) == (running.server.port, running.store.path)
    assert ("server.port" in plan.needs_restart) == (running.server.port != wanted.server.port)
    assert plan.settings.server.api_keys == wanted.server.api_keys
    assert plan.settings.log == wanted.log
    # Asked again, only what needs a restart is still to do.
    again = plan_reload(plan.settings, wanted)
    assert (again.changed, again.added, again.removed) == ([], [], [])
    assert (again.needs_restart, again.settings) == (plan.needs_restart, plan.settings)


@given(configurations(), configurations())
def test_every_difference_is_told_once(running, wanted):
    plan = plan_reload(running, wanted)
    told = [*plan.changed, *plan.added, *plan.removed, *plan.needs_restart]
    assert len(told) == len(set(told))
    assert bool(told) == (running != wanted)
    assert {*plan.added} == wanted.accounts.keys() - running.accounts.keys()
    assert {*plan.removed} == running.accounts.keys() - wanted.accounts.keys()


@given(configurations(), configurations())
def test_a_certificate_may_change_and_tls_itself_may_not(running, wanted):
    plan = plan_reload(running, wanted)
    before, after = running.server.tls_certificate_file, wanted.server.tls_certificate_file
    assert bool(plan.settings.server.tls_certificate_file) == bool(before)
    if bool(before) == bool(after):
        assert plan.settings.server.tls_certificate_file == after
    else:
        assert {"server.tls_certificate_file", "server.tls_key_file"} <= {*plan.needs_restart}


def test_one_secret_in_another_place_is_told_by_its_key():
    account = AccountSettings("acme", (SecretReference(file="x"),), SecretReference(environment="KEY"))
    running = Settings(ServerSettings(), StoreSettings(), LogSettings(), {"acme": account})
    moved = msgspec.structs.replace(account, cordial_api_key=SecretReference(file="y"))
    plan = plan_reload(running, msgspec.structs.replace(running, accounts={"acme": moved}))
    assert plan.changed == ["accounts.acme.cordial_api_key_env", "accounts.acme.cordial_api_key_file"]
