"""A power cut at any moment loses no page that was answered 200, and the service goes on to exact lists."""

import shutil

import pytest

from tests.powercut.__main__ import DISKS_WITH_FAULT, SHOWN_BY, examine_life
from tests.powercut.planted import Fault

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@pytest.mark.parametrize(
    ("life", "disks"),
    [("live", 40), ("imports", 11), ("install", 11), ("upgrade", 13), ("backup", 12), ("restore", 14)],
)
async def test_whatever_a_power_cut_leaves_nothing_acknowledged_is_lost(life, disks):
    findings = await examine_life(life, disks)
    assert findings.faults == []
    # Writes that came together leave equal disks.
    assert findings.disks > disks / 2


@pytest.mark.parametrize("fault", Fault)
async def test_a_planted_fault_is_found(fault):
    findings = await examine_life(SHOWN_BY[fault], DISKS_WITH_FAULT, fault=fault)
    assert findings.faults
