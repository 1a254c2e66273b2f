import pytest

from service.config.loading import secret_faults, secret_warnings
from service.config.settings import SecretReference


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("heap_secret", "heap_secret_file"),
        ("heap_secrets", "heap_secret_env"),
        ("cordial_api_key", "cordial_api_key_file"),
        ("api_key", "cordial_api_key_file"),
        ("cordialApiKey", "cordial_api_key_file"),
    ],
)
def test_a_secret_in_clear_is_refused_and_never_repeated(faults, key, named, acme):
    (line,) = faults(f'{acme}{key} = "hush-hush"')
    assert named in line
    assert "hush-hush" not in line


@pytest.mark.parametrize(
    "setting",
    [
        'heap_secret_env = "hush-hush 1"',
        "heap_secret_fil = 'hush-hush'",
        'cordial_api_key_file = "hush-hush\\u0000"',
        'heap_id_token = "hush-hush\\u0000"',
        'cordial_base_url = "https://hush-hush@api.cordial.io"',
        'cordial_base_url = "https://:hush-hush@api.cordial.io"',
    ],
)
def test_no_fault_repeats_what_may_be_a_secret(faults, setting, acme):
    key = setting.split(" ")[0]
    text = "\n".join(line for line in acme.splitlines() if not line.startswith(f"{key} "))
    assert "hush-hush" not in "\n".join(faults(f"{text}\n{setting}"))


def test_secrets_for_rotation_may_stand_in_files_and_variables_together(read, acme, tmp_path):
    settings = read(acme + 'heap_secret_file = ["old", "older"]\n[server]\napi_key_env = "KEY"\napi_key_file = "key"')
    assert settings.accounts["acme"].heap_secrets == (
        SecretReference(environment="ACME_HEAP_SECRET"),
        SecretReference(file=str(tmp_path / "old")),
        SecretReference(file=str(tmp_path / "older")),
    )
    assert settings.server.api_keys == (SecretReference(environment="KEY"), SecretReference(file=str(tmp_path / "key")))


def test_unreadable_secrets_are_named_each_with_its_key(read, tmp_path, monkeypatch, acme):
    monkeypatch.delenv("ACME_HEAP_SECRET", raising=False)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"hush\xff")
    settings = read(
        f'{acme}heap_secret_file = ["{tmp_path}/empty", "{tmp_path}/binary"]\n'
        f'[server]\napi_key_file = "{tmp_path}/missing"'
    )
    assert secret_faults(settings) == [
        f"server.api_key_file: file {tmp_path}/missing cannot be read: No such file or directory",
        "accounts.acme.heap_secret_env: environment variable ACME_HEAP_SECRET is not set",
        f"accounts.acme.heap_secret_file: the secret in file {tmp_path}/empty is empty",
        f"accounts.acme.heap_secret_file: the secret in file {tmp_path}/binary is not UTF-8 text",
        f"accounts.acme.cordial_api_key_file: file {tmp_path}/secrets/cordial cannot be read: No such file or directory",
    ]


def test_readable_secrets_are_no_faults_and_open_files_are_warned_of(read, tmp_path, monkeypatch, acme):
    monkeypatch.setenv("ACME_HEAP_SECRET", "hush")
    secret = tmp_path / "cordial"
    secret.write_text("hush\n")
    settings = read(acme.replace("secrets/cordial", str(secret)))
    assert secret_faults(settings) == []
    secret.chmod(0o600)
    assert secret_warnings(settings) == []
    secret.chmod(0o644)
    (warning,) = secret_warnings(settings)
    assert warning.startswith(f"accounts.acme.cordial_api_key_file: file {secret} can be read by every user")
    secret.chmod(0o640)
    (warning,) = secret_warnings(settings)
    assert warning == f"accounts.acme.cordial_api_key_file: file {secret} can be read by its group; run chmod 600 on it"


def test_a_secret_loses_one_newline_and_nothing_else(tmp_path):
    path = tmp_path / "secret"
    for written, read_back in [
        (" a b \n", " a b "),
        ("a\r\n", "a"),
        ("a\n\n", "a\n"),
        ("a\r\nb", "a\r\nb"),
        ("a", "a"),
    ]:
        path.write_bytes(written.encode())
        assert SecretReference(file=str(path)).read() == read_back
