# SPDX-License-Identifier: Apache-2.0
"""The performance model asks the hardware's units for their latencies, and builds none of them."""

import gc
import warnings

from amaranth.hdl import Elaboratable, Fragment, UnusedElaboratable

from moevit.estimator.latency import latencies
from moevit.hw.array.compute import Compute
from moevit.spec.arrays import CONFIGS


def test_units_that_are_asked_are_not_warned_of():
    class Nothing(Elaboratable):
        def elaborate(self, platform):
            return Fragment()

    Fragment.get(Nothing(), None)  # from now on Amaranth warns of units that are not elaborated
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        latencies.cache_clear()
        latencies(CONFIGS["8x8"])
        gc.collect()
        assert not caught
        Compute(CONFIGS["8x8"])
        gc.collect()
    assert {each.category for each in caught} == {UnusedElaboratable}  # it does warn


def test_several_ports_cost_cycles():
    one, two = latencies(CONFIGS["8x8"]), latencies(CONFIGS["8x16"])
    assert (one.spread, two.spread) == (0, 3) and two.store - one.store == 16
