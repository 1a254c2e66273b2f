import os

import pytest

from service.config.loading import load
from service.config.settings import SecretReference
from service.errors import ConfigurationError
from service.model.guard import RemovalGuard


def test_the_environment_alone_is_a_configuration(acme_variables):
    settings = load(None, acme_variables | {"HEAP_CORDIAL__SERVER__PORT": "9090"})
    acme = settings.accounts["acme"]
    assert settings.server.port == 9090
    assert acme.name == "acme"
    assert acme.heap_secrets == (SecretReference(environment="ACME_HEAP_SECRET"),)
    assert acme.cordial_api_key == SecretReference(file="/secrets/cordial")


def test_nothing_at_all_says_which_variables_to_set():
    with pytest.raises(ConfigurationError, match="HEAP_CORDIAL__ACCOUNTS__ACME__HEAP_SECRET_FILE"):
        load(None, {})


def test_the_environment_overrides_the_file(read, acme):
    settings = read(
        acme + "requests_per_second = 5\n[server]\nport = 1\n[log]\nlevel = 'error'",
        {
            "HEAP_CORDIAL__SERVER__PORT": "2",
            "HEAP_CORDIAL__SERVER__API_KEY_FILE": '["/old", "/new"]',
            "HEAP_CORDIAL__LOG__LEVEL": "debug",
            "HEAP_CORDIAL__ACCOUNTS__ACME__REQUESTS_PER_SECOND": "7.5",
            "HEAP_CORDIAL__ACCOUNTS__ACME__CREATE_CONTACTS": "false",
            "HEAP_CORDIAL__ACCOUNTS__ACME__HEAP_ID_TOKEN": "0042",
            "HEAP_CORDIAL__ACCOUNTS__ACME__IDENTITIES": '{ email = "email" }',
            "HEAP_CORDIAL__ACCOUNTS__ACME__LIST_NAMES__15225086": "PowerUsers",
            "HEAP_CORDIAL_UNRELATED": "x",
        },
    )
    acme = settings.accounts["acme"]
    assert settings.server.port == 2
    assert settings.server.api_keys == (SecretReference(file="/old"), SecretReference(file="/new"))
    assert settings.log.level == "debug"
    assert acme.requests_per_second == 7.5
    assert acme.create_contacts is False
    assert acme.heap_id_token == "0042"
    assert acme.identities == {"email": "email"}
    assert acme.list_names == {"15225086": "PowerUsers"}


def test_an_empty_variable_takes_a_secret_of_the_file_away(read, acme):
    stem = "HEAP_CORDIAL__ACCOUNTS__ACME__CORDIAL_API_KEY"
    settings = read(acme, {f"{stem}_FILE": "", f"{stem}_ENV": "CORDIAL_KEY"})
    assert settings.accounts["acme"].cordial_api_key == SecretReference(environment="CORDIAL_KEY")


def test_a_variable_reaches_an_account_with_a_dash_in_its_name(read, acme):
    text = acme.replace("acme", "my-shop")
    settings = read(text, {"HEAP_CORDIAL__ACCOUNTS__MY_SHOP__MAX_CONCURRENCY": "3"})
    assert settings.accounts["my-shop"].max_concurrency == 3
    assert list(settings.accounts) == ["my-shop"]


def test_a_variable_finds_an_entry_of_a_table_whatever_its_letter_case(read, acme):
    settings = read(
        acme + 'identify_by = "auto"\nidentities = { "Customer number" = "custID" }',
        {
            "HEAP_CORDIAL__ACCOUNTS__ACME__IDENTITIES__CUSTOMER NUMBER": "other",
            "HEAP_CORDIAL__ACCOUNTS__ACME__IDENTITIES__userEmail": "email",
        },
    )
    assert settings.accounts["acme"].identities == {"Customer number": "other", "userEmail": "email"}


def test_a_variable_at_fault_is_named(faults, acme):
    assert faults(acme, {"HEAP_CORDIAL__SERVER__PORT": "http"}) == [
        'server.port (set by HEAP_CORDIAL__SERVER__PORT): must be a whole number from 1 to 65535, not "http"'
    ]


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("HEAP_CORDIAL__SERVER__PROT", "did you mean port?"),
        ("HEAP_CORDIAL__SEVRER__PORT", "did you mean server?"),
        ("HEAP_CORDIAL__SERVER", "must be a table"),
        ("HEAP_CORDIAL__ACCOUNTS", "must be tables"),
        ("HEAP_CORDIAL__ACCOUNTS__ACME", "must be a table"),
        ("HEAP_CORDIAL__SERVER__PORT__DEEPER", "must be a whole number"),
        ("HEAP_CORDIAL__", "there is no such key"),
    ],
)
def test_a_variable_that_fits_no_key_is_a_fault(faults, variable, expected, acme):
    (line, *_) = faults(acme, {variable: "1"})
    assert expected in line


def test_a_variable_cannot_smuggle_in_a_second_key(faults, acme):
    (line,) = faults(acme, {"HEAP_CORDIAL__SERVER__PORT": "1\nhost = 'x'"})
    assert "must be a whole number" in line


def test_the_real_environment_is_accepted_as_it_is(acme_variables):
    assert load(None, dict(os.environ) | acme_variables).accounts["acme"].name == "acme"


@pytest.mark.parametrize(
    ("text", "variables", "guard"),
    [
        ("", {}, RemovalGuard(share=1.0, least=100)),
        ("hold_removals = { least = 5 }", {}, RemovalGuard(share=0.5, least=5)),
        ("", {"": "{ share = 0.2, least = 7 }"}, RemovalGuard(share=0.2, least=7)),
        ("hold_removals = { share = 0.9, least = 5 }", {"__SHARE": "0.3"}, RemovalGuard(share=0.3, least=5)),
    ],
)
def test_a_guard_is_read_whole_or_in_parts(read, acme, text, variables, guard):
    prefix = "HEAP_CORDIAL__ACCOUNTS__ACME__HOLD_REMOVALS"
    settings = read(f"{acme}\n{text}\n", {f"{prefix}{end}": value for end, value in variables.items()})
    assert settings.accounts["acme"].hold_removals == guard
    assert guard.is_on == (guard.share < 1)
