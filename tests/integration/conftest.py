"""What integration tests share beside the fixtures they import."""

import pytest

from service.deliver import retry
from service.deliver.lists import keeper


@pytest.fixture
def quick_retries(monkeypatch):
    """Retries and probes follow each other in hundredths of seconds; how they grow is left as it is."""
    monkeypatch.setattr(retry, "_PROBE_BASE_SECONDS", 0.05)
    monkeypatch.setattr(retry, "_PROBE_CAP_SECONDS", 0.4)
    monkeypatch.setattr(retry, "_RETRY_BASE_SECONDS", 0.05)
    monkeypatch.setattr(retry, "_RETRY_CAP_SECONDS", 0.4)
    monkeypatch.setattr(keeper, "TIMINGS", keeper.Timings(soon=0.05, retry=0.2, between_looks=0.02))
