# SPDX-License-Identifier: Apache-2.0
from itertools import product

import numpy as np
import pytest

from moevit.spec.isa import Activation, Destination, Opcode, Peak, Saturation
from moevit.spec.trace import TraceKind

NAMES = ["8x8", "8x16"]
each_config = pytest.mark.parametrize("name", NAMES)
each_gap = pytest.mark.parametrize("gap", [0.0, 0.5])


def to(destination, **fields):
    return {"destination": destination} | fields


@each_config
@each_gap
def test_hidden_and_residual(world, name, gap):
    world = world(name, 1, gap)
    seen = world.run([
        world.job(7, 37, **to(Destination.HIDDEN, destination_base=3, destination_stride=6)),
        world.job(6, 24, **to(Destination.RESIDUAL, destination_base=9, score=1))])
    assert any(seen.saturated)


@each_config
def test_saturation_activation_and_score(world, name):
    world = world(name, 3, 0.1)
    world.run([world.job(5, 17, **to(Destination.HIDDEN, saturation=saturation, activation=activation, score=score,
                                     shift=shift))
               for shift in (20, 26) for saturation in Saturation for activation in Activation for score in (0, 1)])


@each_config
@pytest.mark.parametrize("destination", [Destination.KEYS, Destination.VALUES])
def test_keys_and_values(world, name, destination):
    world = world(name, 4, 0.2)
    world.run([world.job(11, columns, **to(destination, destination_base=7, destination_stride=13,
                                           saturation=Saturation.WEIGHT)) for columns in (5, 8, 16, 29, 40)])


@each_config
@pytest.mark.parametrize("destination, stride", [(Destination.HIDDEN, 4), (Destination.RESIDUAL, 4),
                                                 (Destination.KEYS, 41), (Destination.VALUES, 41)])
def test_groups(world, name, destination, stride):
    """Every n-tile and every pass has the same gaps. Groups of one row, of all rows, a last group that is not full."""
    world = world(name, 14, 0.1)
    shapes = [(10, 5, 1), (7, 7, 3), (8, 1, 2), (9, 4, 15), (3, 2, 0), (4, 0, 0), (1, 1, 5)]
    fields = to(destination, destination_base=3, destination_stride=stride, saturation=Saturation.WEIGHT,
                peak=Peak.ABSOLUTE, peak_first=1, destination_peak=4)
    world.run([world.job(rows, 29, group=group, gap=gap, **fields) for rows, group, gap in shapes])


@each_gap
@pytest.mark.parametrize("destination, stride", [(Destination.HIDDEN, 6), (Destination.RESIDUAL, 6),
                                                 (Destination.KEYS, 41), (Destination.VALUES, 41)])
def test_first_word(world, destination, stride, gap):
    """The first word of the first n-tile is left out in every row; peaks and sums do not contain it. Values become
    smaller from pass to pass, so a peak that should start anew and does not is seen."""
    world = world("8x16", 20, gap)
    bytes_only = destination in (Destination.KEYS, Destination.VALUES)
    fields = to(destination, destination_base=3, destination_stride=stride, peak=Peak.MAXIMUM,
                saturation=Saturation.WEIGHT if bytes_only else Saturation.ROW)
    shapes = [(5, 16, 1, 0, 1), (3, 13, 0, 0, 1), (1, 9, 1, 0, 1), (1, 16, 1, 0, 0), (7, 40, 1, 3, 1), (2, 33, 1, 0, 0),
              (4, 32, 0, 0, 0)]
    jobs = [world.job(rows, columns, first_word=word, group=group, gap=2 * bool(group), peak_first=first,
                      destination_peak=4, shift=22 + 2 * index, **fields)
            for index, (rows, columns, word, group, first) in enumerate(shapes)]
    jobs.append(world.job(6, 45, first_word=1, constant=1, constant_scale=9999, destination_peak=40, **fields))
    world.run(jobs)


def test_full_rate_with_a_first_word(world):
    """One word per cycle, also from n-tile to n-tile and to the next pass."""
    world = world("8x16", 21)
    jobs = [world.job(13, columns, first_word=word, **to(Destination.HIDDEN, constant=1, constant_scale=9))
            for columns, word in ((16, 1), (16, 1), (40, 1), (16, 0), (30, 1))]
    seen = world.run(jobs)
    cycles = [cycle for cycle, *_ in seen.stores]
    assert len(cycles) == 13 * (1 + 1 + 4 + 2 + 3)
    assert cycles == list(range(cycles[0], cycles[0] + len(cycles)))
    assert cycles[0] - seen.sum_cycles[0] == world.unit.latency


@each_config
def test_constant_columns_take_no_slot(world, name):
    world = world(name, 5, 0.3)
    constant = to(Destination.HIDDEN, constant=1, constant_scale=54321)
    plain = to(Destination.HIDDEN, destination_base=100)
    world.run([world.job(3, 30, **fields) for fields in (plain, constant, plain, constant)])


@each_config
def test_shifts(world, name):
    """Every shift with any exponent; their difference is clipped to 0..63."""
    world = world(name, 6)
    jobs = [world.job(9, 8, bits=27, **to(Destination.HIDDEN, shift=shift)) for shift in range(64)]
    for job in jobs:
        job.scale.exponent[:] = [-128, -64, -20, -8, 0, 8, 17, 40, 127]
    world.run(jobs)


@each_config
def test_extremes(world, name):
    world = world(name, 7)
    jobs = []
    for shift in (0, 17, 27, 28, 29, 42, 43, 44, 45):
        for value in (-(1 << 26), (1 << 26) - 1, -1, 0, 1):
            job = world.job(1, 8, **to(Destination.HIDDEN, shift=shift))
            job.accumulator[:], job.scale.mantissa[:], job.scale.exponent[:] = value, 65535, 0
            job.column_scale[:] = 65535
            job.bias[:] = [-32768, 32767, 0, 1] * (len(job.bias) // 4)
            jobs.append(job)
    world.run(jobs)


@each_config
@each_gap
def test_peaks(world, name, gap):
    """Peaks that start anew, and peaks that go on. With one row, the same entry comes in consecutive cycles."""
    world = world(name, 8, gap)
    world.run([world.job(rows, 45, bits=bits, shift=17,
                         **to(Destination.HIDDEN, peak=peak, peak_first=first, destination_peak=entry))
               for entry, (peak, rows) in enumerate(product((Peak.ABSOLUTE, Peak.MAXIMUM), (1, 2, 9)))
               for first, bits in ((1, 18), (0, 18), (0, 20), (1, 12), (0, 14))])


@each_config
def test_peaks_stay_untouched_without_tracking(world, name):
    world = world(name, 18)
    world.run([world.job(3, 16, **to(Destination.HIDDEN, peak=peak, peak_first=1)) for peak in (1, 0)])
    assert world.peaks[:3].all()


@each_config
def test_peak_of_the_most_negative_value(world, name):
    world = world(name, 9)
    jobs = [world.job(2, 8, **to(Destination.HIDDEN, peak=peak, peak_first=1, destination_peak=4 * peak))
            for peak in (Peak.ABSOLUTE, Peak.MAXIMUM)]
    for job in jobs:
        job.accumulator[:], job.column_scale[:], job.scale.mantissa[:] = -(1 << 26), 65535, 65535
    world.run(jobs)
    assert world.peaks[4 * Peak.ABSOLUTE] == 32768 and world.peaks[4 * Peak.MAXIMUM] == -32768


@each_config
def test_masked_lanes_touch_no_peak(world, name):
    world = world(name, 10)
    job = world.job(3, 9, shift=10, **to(Destination.HIDDEN, peak=Peak.MAXIMUM, peak_first=1))
    job.accumulator[:] = -1000
    job.accumulator[:, 9:] = 1 << 25
    job.bias[:] = 0
    world.run([job])
    assert (world.peaks[:3] < 0).all()


@each_config
@each_gap
def test_scatter(world, name, gap):
    world = world(name, 11, gap)
    row = world.random.permutation(25)[:9]
    fields = to(Destination.RESIDUAL, scatter=1, score=1, peak=Peak.ABSOLUTE, peak_first=1, destination_stride=5)
    world.run([world.job(9, 33, row, **fields)])


@each_config
@each_gap
def test_next_pass_adds_to_what_this_one_wrote(world, name, gap):
    """Passes of one word, directly behind one another, are among them."""
    world = world(name, 12, gap)
    fields = to(Destination.RESIDUAL, shift=24)
    world.run([world.job(rows, columns, **fields) for rows, columns in ((1, 8), (1, 8), (1, 8), (3, 20), (3, 20))])


@each_config
@pytest.mark.parametrize(("experts", "gap"), [(8, 0.0), (8, 0.5), (5, 0.3)])
def test_router(world, name, experts, gap):
    world = world(name, 13, gap)
    jobs = [world.job(rows, experts, bits=26, shift=shift, top_k=top_k, renormalise=top_k == 3, digits=digits,
                      sigmoid=rows == 20, biased=rows == 5, sets_bias=rows == 1, **to(Destination.ROUTER))
            for rows, shift, top_k, digits in ((20, 20, 2, 1), (1, 30, experts, 0), (5, 16, 3, 1))]
    jobs[0].bias[1] = -32768
    jobs[1].bias[:] = -32768
    jobs[2].bias[:4] = [-32767, 32767, 0, -1]
    hidden = world.job(3, 8, **to(Destination.HIDDEN))
    world.run([jobs[0], hidden, jobs[1], jobs[2], hidden])


@each_config
def test_slow_router(world, name):
    """No token is lost when the router is much slower than the row writer."""
    world = world(name, 19)
    world.router_gap = 0.9
    world.run([world.job(32, 8, bits=26, shift=22, top_k=2, **to(Destination.ROUTER)) for _ in range(2)])


@each_config
def test_other_instructions_are_skipped(world, name):
    world = world(name, 14, 0.2)
    from_reader = [type(world.job())({"opcode": opcode}) for opcode in (Opcode.LOAD, Opcode.NORM, Opcode.STORE)]
    job = world.job(2, 10, **to(Destination.HIDDEN))
    world.run([*from_reader, job, from_reader[1], job, *from_reader, job])


@each_config
@pytest.mark.parametrize("seed", range(4))
def test_random_passes(world, name, seed):
    world = world(name, 100 + seed, [0.0, 0.1, 0.4, 0.8][seed])
    random = world.random
    jobs = []
    for _ in range(12):
        destination = Destination(random.integers(0, 5))
        fields = to(destination, destination_base=random.integers(0, 20), shift=random.integers(14, 30),
                    saturation=random.integers(0, 3), activation=random.integers(0, 3), score=random.integers(0, 2),
                    peak=random.integers(0, 3), peak_first=random.integers(0, 2),
                    destination_peak=random.integers(0, 100))
        if random.random() < 0.3:
            fields |= {"constant": 1, "constant_scale": random.integers(0, 65536)}
        rows, columns = int(random.integers(1, 10)), int(random.integers(1, 50))
        first_word = int(name == "8x16" and columns > 8 and destination != Destination.ROUTER
                         and random.random() < 0.5)
        row = random.permutation(12)[:rows]
        if destination == Destination.ROUTER:
            columns, row = int(random.integers(1, 9)), np.arange(rows)
            fields |= {"top_k": random.integers(1, columns + 1), "digits": random.integers(0, 2), "peak": 0,
                       "activation": 0, "score": 0}
        elif destination in (Destination.KEYS, Destination.VALUES):
            fields |= {"destination_stride": random.integers(12, 18), "saturation": Saturation.WEIGHT}
        jobs.append(world.job(rows, columns, row, bits=26, first_word=first_word, **fields))
    world.run(jobs)


@each_config
@pytest.mark.parametrize("destination", [Destination.RESIDUAL, Destination.ROUTER])
def test_reset_in_the_middle(world, name, destination):
    """Words, columns, tokens and reservations that were under way are gone."""
    world = world(name, 17)
    before = [world.job(20, 8, bits=26, **to(destination, shift=26, top_k=2)) for _ in range(9)]
    world.run([world.job(rows, 8, bits=26, **to(where, shift=20, top_k=2))
               for rows, where in ((5, destination), (3, Destination.HIDDEN))], interrupted=before)


@each_config
def test_full_rate_and_latency(world, name):
    """One word per cycle from the first to the last, over rows, n-tiles and passes."""
    world = world(name, 15)
    jobs = [world.job(13, 48, **to(Destination.HIDDEN, peak=Peak.ABSOLUTE, constant=constant, constant_scale=9))
            for constant in (1, 0, 1)]
    seen = world.run(jobs)
    cycles = [cycle for cycle, *_ in seen.stores]
    assert cycles == list(range(cycles[0], cycles[0] + len(cycles)))
    assert cycles[0] - seen.sum_cycles[0] == world.unit.latency


@each_config
def test_done_latency(world, name):
    world = world(name, 16)
    seen = world.run([world.job(1, 8, **to(Destination.HIDDEN, constant=1, constant_scale=9))])
    assert seen.stores[0][0] - seen.sum_cycles[0] == world.unit.latency
    assert seen.done_cycles[0] - seen.sum_cycles[0] == world.unit.latency_done
    assert seen.stores[0][1] == TraceKind.HIDDEN


@each_config
def test_tokens_at_full_rate(world, name):
    world = world(name, 22)
    seen = world.run([world.job(32, 8, **to(Destination.ROUTER, top_k=1, constant=1, constant_scale=9))])
    first = seen.sum_cycles[0] + world.unit.latency_logits
    assert world.logits.cycles == list(range(first, first + 32))


@each_config
def test_rows_are_announced_as_done_is(world, name):
    """``stored`` follows a row of the last n-tile one cycle later than ``done`` follows the last row. It does not name
    the last row, nor rows of a pass that scatters."""
    world = world(name, 18)
    rows, lanes = 5, world.config.n_lanes
    jobs = [world.job(rows, 2 * lanes, **to(Destination.HIDDEN, peak=Peak.ABSOLUTE, constant=1, constant_scale=9)),
            world.job(rows, lanes, **to(Destination.RESIDUAL, scatter=1, constant=1, constant_scale=9)),
            world.job(rows, world.config.max_experts, **to(Destination.ROUTER, top_k=1, constant=1, constant_scale=9)),
            world.job(rows, lanes, **to(Destination.KEYS, constant=1, constant_scale=9, destination_stride=8))]
    seen = world.run(jobs)
    ratio, found = world.config.ratio, [(0, 0)] * len(seen.stored)
    after = world.unit.latency_done - world.unit.latency + 1
    stores = [cycle for cycle, *_ in seen.stores]
    for sequence, last in ((0, 2 * rows * ratio), (3, len(stores))):  # its words up to the last
        ends = stores[last - rows * ratio:last][ratio - 1::ratio]
        for row, cycle in enumerate(ends):
            rest = len(found) - cycle - after
            found[cycle + after:] = [(sequence, row if row < rows - 1 else 0)] * max(rest, 0)
    assert seen.stored == found
    assert {row for sequence, row in seen.stored if sequence == 0} == set(range(rows - 1))
