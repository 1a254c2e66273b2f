import pytest

from service.config.loading import load
from service.errors import ConfigurationError


def test_all_faults_are_told_at_once(faults):
    lines = faults(
        """
        color = "red"
        [server]
        prot = 1
        port = 0
        max_body_bytes = 5.5
        shutdown_grace_seconds = nan
        host = ""
        [store]
        max_backlog = true
        path = ":memory:"
        [log]
        level = "loud"
        format = 1
        [accounts.acme]
        requests_per_second = 0
        on_segment_rename = "ignore"
        identify_by = "a b"
        """
    )
    named = [line.split(":")[0] for line in lines]
    assert sorted(named) == sorted(
        [
            "color",
            "server.prot",
            "server.port",
            "server.max_body_bytes",
            "server.shutdown_grace_seconds",
            "server.host",
            "store.max_backlog",
            "store.path",
            "log.level",
            "log.format",
            "accounts.acme.requests_per_second",
            "accounts.acme.on_segment_rename",
            "accounts.acme.identify_by",
            "accounts.acme.heap_secret_file",
            "accounts.acme.cordial_api_key_file",
        ]
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[server]\nprot = 1", "server.prot: there is no such key; did you mean port?"),
        ("sevrer = 1", "sevrer: there is no such key; did you mean server?"),
        ("zzz = 1", "zzz: there is no such key; known here are server, store, log, api_keys, notices, accounts"),
        ("server = 1", "server: must be a table"),
        ("[server]\nport = 65536", "server.port: must be a whole number from 1 to 65535, not 65536"),
        ("[server]\nport = 80.0", "server.port: must be a whole number from 1 to 65535, not 80.0"),
        (
            "[store]\nsettle_interval_seconds = 0",
            "store.settle_interval_seconds: must be a number above 0 and at most 60, not 0",
        ),
        ('[log]\nformat = "xml"', 'log.format: must be "console" or "json", not "xml"'),
        ("[store]\npath = 'file:x?mode=memory'", "store.path: must be the path of a file on a local disk"),
        ("[store]\nretention_days = 2026-11-23", "store.retention_days: must be a whole number from 1 to 36500"),
    ],
)
def test_a_fault_says_what_would_be_right(faults, text, expected, acme):
    (line,) = faults(text + acme)
    assert line.startswith(expected)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("max_concurrency = 0", "max_concurrency: must be a whole number from 1 to 1024, not 0"),
        ("requests_per_second = inf", 'requests_per_second: must be a number above 0 and at most 10000 or "auto"'),
        ("request_timeout_seconds = -1", "request_timeout_seconds: must be a number above 0 and at most 600, not -1"),
        ("create_contacts = 1", "create_contacts: must be true or false, not 1"),
        (
            "hold_removals = true",
            "hold_removals: must be a table with share (a number from 0 to 1) and least (a whole number from 0 to 1000000000)",
        ),
        ("hold_removals = { share = 1.5 }", "hold_removals: must be a table with share"),
        ("hold_removals = { least = -1 }", "hold_removals: must be a table with share"),
        ("hold_removals = { share = nan }", "hold_removals: must be a table with share"),
        ("hold_removals = { most = 5 }", "hold_removals: must be a table with share"),
        ('list_prefix = "a b"', "list_prefix: must be at most 64 letters"),
        ('list_prefix = "trailing\\n"', "list_prefix: must be at most 64 letters"),
        ("list_names = { 1 = '' }", "list_names: must be a table whose values are each a list name"),
        (f"list_names = {{ 1 = '{'x' * 129}' }}", "list_names: must be a table whose values are each a list name"),
        ("list_names = { 1 = 'A', 2 = 'a' }", "list_names.2: must be another name: segment 1 has this one"),
        ("list_names = { 1 = 'CID' }", 'list_names.1: must be another name: Cordial reserves "CID" to itself'),
        ("list_names = { 1 = 'channels' }", "list_names.1: must be another name"),
        ('identify_by = "auto"', "identities: is needed by identify_by"),
        ("identities = { a = 'auto' }", "identities: must name Cordial keys"),
        ("identities = { a = 'b c' }", "identities: must be a table whose values are each a Cordial key"),
        ("heap_secret_file = 5", "heap_secret_file: must be the path of a file that holds the secret, or a list"),
        ("heap_secret_file = ['a', '']", "heap_secret_file: must be the path of a file"),
        ("heap_secret_file = ['a', 5]", "heap_secret_file: must be the path of a file"),
        ('cordial_api_key_env = "KEY"', "cordial_api_key_file: is set together with cordial_api_key_env; keep one"),
    ],
)
def test_a_fault_of_an_account_says_what_would_be_right(faults, setting, expected, acme):
    (line,) = faults(f"{acme}{setting}\n")
    assert line.startswith(f"accounts.acme.{expected}")


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path):
    for path, expected in [(tmp_path / "missing.toml", "No such file"), (tmp_path, "Is a directory")]:
        with pytest.raises(ConfigurationError, match=expected):
            load(path, {})


def test_a_file_that_is_not_toml_is_a_fault_with_its_line(faults):
    (line,) = faults("[server]\nport = = 1\n")
    assert "is not TOML" in line
    assert "line 2" in line


def test_a_file_in_another_encoding_is_a_fault(tmp_path):
    path = tmp_path / "config.toml"
    path.write_bytes("[server]\nhost = 'münchen'".encode("latin-1"))
    with pytest.raises(ConfigurationError, match="is not UTF-8 text"):
        load(path, {})


def test_a_byte_order_mark_does_no_harm(read, acme):
    assert read("\ufeff" + acme).accounts["acme"].name == "acme"


@pytest.mark.parametrize("name", ["ACME", "a b", "a__b", "_a", "a_", "ä", "x" * 65, ""])
def test_account_names_that_no_url_or_variable_can_carry_are_faults(faults, name, acme):
    (line,) = faults(acme.replace("[accounts.acme]", f'[accounts."{name}"]'))
    assert line.startswith(f"accounts.{name}: an account's name must be at most 64 lower-case letters")


@pytest.mark.parametrize("name", ["a", "my-shop", "shop_2", "x" * 64, "0"])
def test_account_names_of_lower_case_letters_digits_and_dashes_are_good(read, name, acme):
    assert list(read(acme.replace("acme", name)).accounts) == [name]


def test_one_id_token_in_two_accounts_is_ambiguous(faults, acme):
    second = acme.replace("acme", "other")
    (line,) = faults(f'{acme}heap_id_token = "tok-1"{second}heap_id_token = "tok-1"')
    assert line == "accounts.other.heap_id_token: must differ from that of account acme"


def test_one_heap_secret_may_serve_two_accounts(read, acme):
    assert list(read(acme + acme.replace("acme", "other")).accounts) == ["acme", "other"]


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("https://api.cordial.io", "https://api.cordial.io"),
        ("https://api.cordial.io/", "https://api.cordial.io"),
        ("https://api.cordial.io/v2", "https://api.cordial.io"),
        ("https://api.cordial.io/v2/", "https://api.cordial.io"),
        ("https://proxy.example/cordial/v2/", "https://proxy.example/cordial"),
        ("HTTPS://api.cordial.io:8443", "https://api.cordial.io:8443"),
        ("http://localhost:8081", "http://localhost:8081"),
        ("http://127.0.0.5:8081/", "http://127.0.0.5:8081"),
        ("http://[::1]:8081/v2", "http://[::1]:8081"),
    ],
)
def test_base_urls_are_brought_into_one_form(read, written, normal, acme):
    assert read(f'{acme}cordial_base_url = "{written}"').accounts["acme"].cordial_base_url == normal


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.cordial.io",
        "ftp://api.cordial.io",
        "https://",
        "https://:443",
        "https://api.cordial.io:port",
        "https://[::1",
        "https://api.cordial.io/?a=b",
        "https://api.cordial.io/#v2",
        "https://api .cordial.io",
        "https://api.cordial.io\\n",
        "http://api.cordial.io",
        "http://localhost.example",
        "http://127.0.0.1.example",
    ],
)
def test_base_urls_that_cannot_be_called_safely_are_faults(faults, url, acme):
    (line,) = faults(f'{acme}cordial_base_url = "{url}"')
    assert line.startswith("accounts.acme.cordial_base_url: must be ")


def test_what_can_come_again_is_not_forgotten_before(faults, acme):
    (line,) = faults(f"[store]\nretention_days = 14\n{acme}timestamp_tolerance_seconds = 604800")
    assert line.startswith("store.retention_days: must be at least 15 ")
