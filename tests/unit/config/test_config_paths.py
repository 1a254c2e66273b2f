"""One configuration names the same files for whoever reads it, in whichever folder that happens to be."""

import pytest

from service.config.loading import load
from service.errors import ConfigurationError

TLS = 'tls_certificate_file = "tls/chain.pem"\ntls_key_file = "/etc/key.pem"\n'


@pytest.mark.parametrize("spelling", ["config.toml", "./config.toml", "../conf/config.toml"])
def test_a_relative_path_starts_from_the_folder_of_the_file(tmp_path, monkeypatch, spelling, acme):
    folder = tmp_path / "conf"
    (tmp_path / "elsewhere").mkdir()
    folder.mkdir()
    text = f'[server]\napi_key_file = ["keys/a", "/keys/b"]\n{TLS}[store]\npath = "data/store.db"\n{acme}'
    (folder / "config.toml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(folder)
    settings = load(folder / spelling, {})
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load(folder / "config.toml", {}) == load(folder / "config.toml", {})
    resolved = [
        settings.store.path,
        settings.server.tls_certificate_file,
        settings.server.tls_key_file,
        *(reference.file for reference in settings.server.api_keys),
        settings.accounts["acme"].cordial_api_key.file,
    ]
    from_folder = str((folder / spelling).absolute().parent)
    assert resolved == [
        f"{from_folder}/data/store.db",
        f"{from_folder}/tls/chain.pem",
        "/etc/key.pem",
        f"{from_folder}/keys/a",
        "/keys/b",
        f"{from_folder}/secrets/cordial",
    ]


def test_the_default_store_is_beside_the_file_too(read, tmp_path, acme):
    assert read(acme).store.path == str(tmp_path / "data" / "heap-cordial.db")


@pytest.mark.parametrize(
    "variable",
    ["STORE__PATH", "SERVER__API_KEY_FILE", "SERVER__TLS_KEY_FILE", "ACCOUNTS__ACME__HEAP_SECRET_FILE"],
)
def test_a_relative_path_in_a_variable_is_refused(read, acme, variable):
    name = f"HEAP_CORDIAL__{variable}"
    with pytest.raises(ConfigurationError) as caught:
        read(f"{acme}[server]\n{TLS}", {name: "some/file"})
    [fault] = caught.value.faults
    assert name in fault
    assert "must be an absolute path" in fault
    assert "some/file" not in fault


def test_without_a_file_the_store_must_be_named(acme_variables):
    del acme_variables["HEAP_CORDIAL__STORE__PATH"]
    with pytest.raises(ConfigurationError) as caught:
        load(None, acme_variables)
    [fault] = caught.value.faults
    assert fault.startswith("store.path: must be an absolute path")
