import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from service.config.keys import NAMED, SECTIONS, SecretKey, keys_of
from service.config.loading import describe, load, secret_faults
from service.config.settings import (
    AccountSettings,
    ApiKeySettings,
    LogSettings,
    NoticeSettings,
    ServerSettings,
    StoreSettings,
)
from service.errors import ConfigurationError

SHIPPED = Path(__file__).parents[3] / "config.toml"


def uncommented(text: str) -> str:
    return re.sub(r"^#(?=[^ \n#])", "", text, flags=re.MULTILINE)


def test_the_shipped_file_shows_exactly_the_defaults(read, tmp_path):
    settings = read(uncommented(SHIPPED.read_text(encoding="utf-8")))
    acme = settings.accounts["acme"]
    assert settings.server == ServerSettings()
    assert settings.store == StoreSettings(path=str(tmp_path / StoreSettings().path))
    assert settings.log == LogSettings()
    assert settings.notices["ops"] == NoticeSettings("ops", "slack", settings.notices["ops"].urls)
    assert acme == AccountSettings(acme.name, acme.heap_secrets, acme.cordial_api_key)


def test_the_shipped_file_has_every_key_and_a_comment_above_each():
    text = uncommented(SHIPPED.read_text(encoding="utf-8"))
    tables = tomllib.loads(text)
    assert set(tables) == {*SECTIONS, *NAMED}
    for section, settings in SECTIONS.items():
        assert set(tables[section]) == set(keys_of(settings))
    assert set(tables["accounts"]["acme"]) == set(keys_of(AccountSettings))
    assert set(tables["api_keys"]["marketing"]) == set(keys_of(ApiKeySettings))
    assert set(tables["notices"]["ops"]) == set(keys_of(NoticeSettings))
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith("[")]
        assert lines[0].startswith("# "), f"no comment above {lines[0]}"


@pytest.mark.parametrize("settings", [*SECTIONS.values(), *NAMED.values()])
def test_every_field_of_the_settings_has_a_key(settings):
    filled = {key.field if isinstance(key, SecretKey) else key.name for key in keys_of(settings).values()}
    without_key = {field.name for field in msgspec.structs.fields(settings)} - filled
    assert without_key == ({"name"} if settings in NAMED.values() else set())


def test_the_shipped_file_as_it_is_says_what_to_set():
    with pytest.raises(ConfigurationError) as caught:
        load(SHIPPED, {})
    assert caught.value.faults == [
        (
            "accounts: no account is configured; uncomment [accounts.acme] in config.toml and set heap_secret_file and "
            "cordial_api_key_file (or heap_secret_env and cordial_api_key_env)"
        )
    ]


def test_the_shipped_file_with_the_sample_account_merely_uncommented_lacks_only_the_secrets(read):
    settings = read(uncommented(SHIPPED.read_text(encoding="utf-8")))
    assert len(secret_faults(settings)) == 4


def test_the_shipped_file_takes_an_account_from_the_environment(acme_variables):
    assert list(load(SHIPPED, acme_variables).accounts) == ["acme"]


def test_the_description_tells_everything_but_secrets(read, tmp_path, acme):
    secret = tmp_path / "cordial"
    secret.write_text("hush-hush")
    settings = read(
        acme.replace("secrets/cordial", str(secret)) + 'heap_id_token = "hush-hush"\nlist_prefix = "heap-"',
        {"HEAP_CORDIAL__SERVER__PORT": "9090"},
    )
    described = describe(settings)
    assert described["server"]["port"] == 9090
    assert described["accounts"]["acme"]["list_prefix"] == "heap-"
    assert described["accounts"]["acme"]["heap_secret_env"] == ["ACME_HEAP_SECRET"]
    assert described["accounts"]["acme"]["cordial_api_key_file"] == [str(secret)]
    assert described["accounts"]["acme"]["heap_id_token"] == "***"
    assert "hush-hush" not in msgspec.json.encode(described).decode()
    assert set(described["accounts"]["acme"]) == set(keys_of(AccountSettings))
