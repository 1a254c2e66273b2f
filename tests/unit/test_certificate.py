import pytest

from service.config import loading
from service.config.settings import ServerSettings
from service.errors import ConfigurationError
from service.web import tls
from service.web.tls import TlsFiles, load_certificate
from tests.tls_fixtures import encrypt_key, make_dated_pair, make_pair


def fault_of(certificate, key) -> str:
    server = ServerSettings(tls_certificate_file=str(certificate), tls_key_file=str(key))
    [fault] = tls.faults(server)
    return fault


def test_a_pair_that_serves_has_no_fault_and_tells_when_it_ends(tmp_path):
    pair = make_dated_pair(tmp_path, "good", "20200101000000Z", "20991231235959Z")
    assert load_certificate(TlsFiles(*pair)).expires_at.isoformat() == "2099-12-31T23:59:59+00:00"
    server = ServerSettings(tls_certificate_file=str(pair.certificate), tls_key_file=str(pair.key))
    assert tls.faults(server) == []
    assert tls.faults(ServerSettings()) == []


def test_each_fault_names_the_key_the_file_and_what_is_wrong(tmp_path):
    pair, other = make_pair(tmp_path, "one"), make_pair(tmp_path, "other")
    nowhere, empty = tmp_path / "nowhere", tmp_path / "empty"
    empty.write_text("")
    broken = tmp_path / "broken"
    broken.write_text("-----BEGIN CERTIFICATE-----\nMIIB!\n-----END CERTIFICATE-----\n")
    certificate, key = "server.tls_certificate_file: ", "server.tls_key_file: "
    no_file = "cannot be read: No such file or directory"
    assert fault_of(nowhere, pair.key) == f"{certificate}{nowhere} {no_file}"
    assert fault_of(pair.certificate, nowhere) == f"{key}{nowhere} {no_file}"
    assert fault_of(empty, pair.key) == f"{certificate}{empty} holds no certificate in PEM form"
    assert fault_of(broken, pair.key).endswith(f"{pair.key} with {broken} cannot be used together as PEM files")
    assert fault_of(pair.certificate, other.key) == (
        f"{key}{other.key} is not the key of the certificate in {pair.certificate}"
    )
    assert fault_of(pair.certificate, empty).startswith(f"{key}{empty} ")
    assert "passphrase" in fault_of(*encrypt_key(pair))


def test_a_certificate_out_of_its_time_or_for_another_purpose_is_a_fault(tmp_path):
    expired = make_dated_pair(tmp_path, "expired", "20200101000000Z", "20200201000000Z")
    assert fault_of(*expired).endswith("certificate has expired")
    early = make_dated_pair(tmp_path, "early", "20980101000000Z", "20990101000000Z")
    assert fault_of(*early).endswith("certificate is not yet valid")
    client = make_pair(tmp_path, "client", extension="extendedKeyUsage=clientAuth")
    assert "purpose" in fault_of(*client)


@pytest.mark.parametrize("key", ["TLS_CERTIFICATE_FILE", "TLS_KEY_FILE"])
def test_one_file_without_the_other_is_a_fault(key):
    account = {"HEAP_SECRET_ENV": "A", "CORDIAL_API_KEY_ENV": "B"}
    environment = {"HEAP_CORDIAL__STORE__PATH": "/data/store.db"} | {
        f"HEAP_CORDIAL__ACCOUNTS__ACME__{name}": value for name, value in account.items()
    }
    with pytest.raises(ConfigurationError) as caught:
        loading.load(None, environment | {f"HEAP_CORDIAL__SERVER__{key}": "/some/file"})
    [fault] = caught.value.faults
    assert fault.startswith("server.tls_key_file")
    assert fault.endswith("belongs to tls_certificate_file; set both or none")
