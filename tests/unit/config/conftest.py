from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from service.config.loading import load
from service.config.settings import Settings
from service.errors import ConfigurationError

Reader = Callable[..., Settings]


@pytest.fixture
def acme() -> str:
    """The least that an account needs."""
    return """
[accounts.acme]
heap_secret_env = "ACME_HEAP_SECRET"
cordial_api_key_file = "secrets/cordial"
"""


@pytest.fixture
def acme_variables() -> dict[str, str]:
    """The same account as variables."""
    return {
        "HEAP_CORDIAL__ACCOUNTS__ACME__HEAP_SECRET_ENV": "ACME_HEAP_SECRET",
        "HEAP_CORDIAL__ACCOUNTS__ACME__CORDIAL_API_KEY_FILE": "/secrets/cordial",
        "HEAP_CORDIAL__STORE__PATH": "/data/store.db",
    }


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    """Load a file with the text given, and the environment if one is given."""

    def read(text: str, environment: Mapping[str, str] | None = None) -> Settings:
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        return load(path, environment or {})

    return read


@pytest.fixture
def faults(read: Reader) -> Callable[..., list[str]]:
    """Do the same with what must be refused, and return the faults."""

    def faults(text: str, environment: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(ConfigurationError) as caught:
            read(text, environment)
        return caught.value.faults

    return faults
