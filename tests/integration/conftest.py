"""What integration tests share beside the fixtures they import."""

import pytest

from service.deliver import retry
from service.deliver.lists.timings import Timings
from tests.service_fixtures import World


@pytest.fixture
def quick_retries(monkeypatch):
    """Retries and probes follow each other in hundredths of seconds; how they grow is left as it is."""
    quick = retry.Timings(probe_base=0.05, probe_cap=0.4, retry_base=0.05, retry_cap=0.4, absent=0.3)
    monkeypatch.setattr(World, "retry_timings", quick)
    monkeypatch.setattr(World, "list_timings", Timings(soon=0.05, retry=0.2, between_looks=0.02))
