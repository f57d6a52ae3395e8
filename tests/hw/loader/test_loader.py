# SPDX-License-Identifier: Apache-2.0
"""The loader, cycle by cycle, with random stalls on every side."""

from dataclasses import replace

import numpy as np
import pytest

from moevit.hw.layouts import DROP, instruction_layout
from moevit.hw.loader.image import ImageLoader
from moevit.hw.loader.loader import Loader
from moevit.hw.loader.tiles import TileLoader
from moevit.hw.loader.words import WordLoader
from moevit.sim.bench.stream_bench import StreamBench
from moevit.sim.bench.surroundings import Probe
from moevit.spec.isa import Opcode, Region, WeightSource

from ...configs import TEST_CONFIGS
from .loader_world import World, number, pass_of, tile_loads


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("name", ["8x8", "8x16", "16x16_four"])
def test_pass_ofes(name, stall):
    """Columns and tiles in order; also with constant columns, with digits, with instructions that load nothing."""
    world = World(name, seed=1, stall=stall)
    columns, tiles = [], []
    for sequence, more in enumerate([{}, {"constant": 1}, {"digits": 1}]):
        instruction = pass_of(2 + sequence, 3, **more)
        world.dispatch(sequence, **instruction)
        world.dispatch(sequence, opcode=Opcode.STORE, rows=3, k_tiles=2)
        for _ in range(instruction["n_tiles"]):
            if "constant" not in more:
                columns += [number(beat, 8) for beat in world.payload(4)]
            for _ in range(3 * (world.config.gate_sweeps if "digits" in more else 1)):
                tiles += tile_loads(world.payload(world.config.k_lanes))
    world.run(2000 if stall else 900)
    assert world.columns == columns
    assert world.loads == tiles


@pytest.mark.parametrize("config", [*(TEST_CONFIGS[name] for name in ("8x8", "8x16", "16x16", "16x16_four")),
                                    replace(TEST_CONFIGS["32x32"], bus_beats=1, tile_beats=8)],
                         ids=["8x8", "8x16", "16x16", "16x16_four", "32x32_eight"])
def test_full_rate(config):
    """One group per cycle, one cycle more per tile; the next tile begins in the cycle after ``tile_taken``."""
    world = World(config, seed=2)
    world.dispatch(0, **pass_of(1, 12, constant=1))
    tiles = [load for _ in range(12) for load in tile_loads(world.payload(config.k_lanes))]
    period = config.k_lanes // config.tile_beats + 1
    world.run(12 * period + 10)
    assert world.loads == tiles
    assert np.all(np.diff(world.taken) == period)
    assert world.first_loads[1:] == [cycle + 1 for cycle in world.taken[:-1]]


@pytest.mark.parametrize("name", ["8x8", "16x16_four"])
def test_as_fast_as_beats_come(name):
    """One beat per cycle: a tile is complete every k_lanes cycles, two cycles after its last beat came."""
    world = World(name, seed=2, supply=1)
    k_lanes = world.config.k_lanes
    world.dispatch(0, **pass_of(1, 12, constant=1))
    world.payload(12 * k_lanes)
    world.run(12 * k_lanes + 10)
    assert world.taken == [k_lanes * tile + k_lanes - 1 + 2 for tile in range(12)]
    assert world.first_loads[0] == world.beats_taken[0] + TileLoader.latency


@pytest.mark.parametrize("name", ["8x8", "16x16_four"])
def test_column_parameters_cost_four_cycles(name):
    """Four more cycles between the tiles of two n-tiles, while beats are there."""
    world = World(name, seed=2)
    world.dispatch(0, **pass_of(6, 1))
    world.payload(6 * (4 + world.config.k_lanes))
    world.run(100)
    assert np.all(np.diff(world.taken) == 4 + 4)


@pytest.mark.parametrize("name", ["8x8", "16x16_four"])
@pytest.mark.parametrize("weights", [WeightSource.KEYS, WeightSource.VALUES])
def test_full_rate_from_memory(name, weights):
    """When the rows take longer than the load, the next beat waits in front of the array, as beats of the bus do."""
    world = World(name, seed=3, hold=20)
    k_lanes = world.config.k_lanes
    world.dispatch(0, **pass_of(3, 2, constant=1, weights=weights, kv_n_stride=2 * k_lanes, kv_k_stride=k_lanes))
    world.run(6 * (k_lanes + 21) + 80)
    assert len(world.taken) == 6
    assert world.first_loads[1:] == [cycle + 1 for cycle in world.taken[:-1]]
    assert np.all(np.diff(world.taken) == k_lanes + 21)


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("name", ["8x8", "8x16", "16x16_four"])
@pytest.mark.parametrize("weights", [WeightSource.KEYS, WeightSource.VALUES])
def test_keys_and_values(name, weights, stall):
    """Tiles from memory by address, between tiles from the bus; their column parameters come from the bus."""
    world = World(name, seed=4, stall=stall)
    config = world.config
    fields = {"weights": weights, "kv_base": 5, "kv_k_stride": 40, "kv_n_stride": 9, "overlap": 1}
    expected, columns = [], []
    world.dispatch(0, **pass_of(1, 1, constant=1))
    expected += tile_loads(world.payload(config.k_lanes))
    world.dispatch(1, **pass_of(2, 3, **fields))
    for n in range(2):
        columns += [number(beat, 8) for beat in world.payload(4)]
        for k in range(3):
            first = 5 + n * 9 + k * 40
            expected += tile_loads(world.kv[first:first + config.k_lanes], int(weights == WeightSource.VALUES))
    world.dispatch(2, **pass_of(1, 1, constant=1))
    expected += tile_loads(world.payload(config.k_lanes))
    world.run(1000 if stall else 200)
    assert world.columns == columns
    assert world.loads == expected


@pytest.mark.parametrize("overlap", [0, 2])
def test_start_rule(overlap):
    """The memory is read when all instructions before but ``overlap`` are finished; the sequence wraps."""
    world = World("8x8", seed=5)
    world.finish_at = {0: 0xFFFD, 60: 0xFFFE, 90: 0xFFFF, 120: 0}
    world.dispatch(0, **pass_of(1, 1, constant=1, weights=WeightSource.KEYS, overlap=overlap))
    world.run(200)
    assert world.kv_reads[0] >= {0: 120, 2: 60}[overlap]
    assert world.kv_reads[0] <= {0: 120, 2: 60}[overlap] + 2


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("name", ["8x8", "8x16", "16x16_four", "8x8_wide"])
def test_load_and_gain(name, stall):
    """The gain comes by beats, rows by words; one word per cycle where its beats are there."""
    world = World(name, seed=6, stall=stall)
    config = world.config
    world.finish_at = {0: 4, 40: 5}
    world.dispatch(4, opcode=Opcode.NORM, rows=2, k_tiles=3, region=Region.WEIGHTS)
    gain = [number(beat, 8) for beat in world.payload(3 * config.word_beats)]
    world.dispatch(5, opcode=Opcode.LOAD, rows=5, k_tiles=3, destination_base=20, region=Region.WEIGHTS)
    words = np.concatenate(world.payload(15 * config.word_beats)).astype(np.uint8).view("<i2").reshape(15, -1)
    world.run(400)
    assert world.gain == gain
    assert world.residual == {20 + index: list(word) for index, word in enumerate(words)}
    assert len(world.done) == 1 and world.done[0] > 40
    if not stall:
        assert world.done[0] == 41 + len(words)


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("name", ["8x8", "8x8_wide"])
def test_drop(name, stall):
    """A DROP takes one bus beat per cycle and finishes nothing. It ignores its other fields, which are those of a
    PASS."""
    world = World(name, seed=8, stall=stall)
    columns, tiles = [], []
    for beats in (1, 24, 5):
        world.dispatch(7, **pass_of(1, 2) | {"opcode": DROP, "region_beats": beats, "overlap": 0})
        world.payload(beats * world.config.bus_beats)
        world.dispatch(7, **pass_of(1, 1))
        columns += [number(beat, 8) for beat in world.payload(4)]
        tiles += tile_loads(world.payload(world.config.k_lanes))
    world.run(600 if stall else 150)
    assert world.columns == columns and world.loads == tiles
    assert len(world.dropped) == 3 and not world.done
    if not stall:
        assert world.dropped[0] == 1, "taken in cycle 0, its only beat in cycle 1"


#: Pixel rows and chunks across of a patch, patches down and across: those of 8, 16 and 24 pixels, and some whose last
#: beat of the bus is not used up.
IMAGES = {
    "8x8": [(8, 3, 2, 4), (3, 1, 1, 3)], "8x8_wide": [(8, 3, 1, 3), (3, 1, 1, 3), (4, 3, 1, 1)],
    "8x16": [(8, 3, 1, 3), (3, 1, 3, 1)], "16x16": [(8, 3, 2, 3), (16, 6, 2, 2)],
    "32x32": [(16, 6, 1, 2), (8, 3, 1, 3), (3, 1, 1, 3), (5, 5, 1, 1)],
    "32x64": [(16, 6, 1, 3), (8, 3, 2, 1), (7, 3, 1, 2)],
    "64x64": [(16, 6, 1, 3), (8, 3, 1, 5), (24, 9, 1, 1), (7, 1, 1, 3), (5, 7, 1, 2)],
}


@pytest.mark.parametrize(("name", "patch"), [(name, patch) for name, patches in IMAGES.items() for patch in patches])
@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_image(name, patch, stall):
    """Every pixel has its place of the flattened patch (row, column, channel). The rest of the bus beat is dropped."""
    world = World(name, seed=7, stall=stall)
    config = world.config
    lines, segment, down, across = patch
    image = world.random.integers(0, 256, (down, lines, across, 8 * segment), dtype=np.uint8)
    flat = np.concatenate([image.reshape(-1), np.full(-image.size % config.bus_bytes, 0xEE, np.uint8)])
    world.beats.extend(flat.reshape(-1, config.beat_bytes))
    stride = -(-8 * segment * lines // config.k_lanes) + 1
    world.dispatch(0, opcode=Opcode.IMAGE, rows=down * across, patch=lines, segment=segment, patches_x=across,
                   destination_base=3, destination_stride=stride, region=Region.IMAGE)
    world.dispatch(1, **pass_of(1, 1, constant=1))
    tile = tile_loads(world.payload(config.k_lanes))
    world.run(int(image.size / 8 / (1 - stall) ** 2 * 1.3) + 12 * config.k_lanes)
    for row, expected in enumerate(image.transpose(0, 2, 1, 3).reshape(down * across, -1)):
        words = range(3 + row * stride, 3 + row * stride + -(-len(expected) // config.k_lanes))
        found = np.concatenate([world.hidden[word] for word in words])[:len(expected)]
        assert np.array_equal(found, expected)
    assert sum(value is not None for word in world.hidden.values() for value in word) == image.size
    assert len(world.done) == 1 and world.loads == tile
    if not stall:
        pieces = down * across * sum(pieces_of_line(config, line * segment, segment) for line in range(lines))
        dropped = -(-(-image.size % config.bus_bytes) // config.beat_bytes)  # beats; the first one costs no cycle
        assert world.done[0] == pieces + ImageLoader.latency + max(dropped - 1, 0)


def pieces_of_line(config, chunk, left):
    """Pieces of ``left`` chunks from ``chunk`` on. A piece ends before it would write a part of a word twice."""
    groups, pieces = config.k_lanes // 8, 0
    part = groups // config.hidden_parts
    while left > 0:
        end = chunk // part * part + groups
        chunk, left, pieces = end, left - (end - chunk), pieces + 1
    return pieces


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(("name", "stride"), [("8x8", 50), ("8x16", 50), ("8x16", 7)])
def test_load_for_a_batch(name, stride, stall):
    """Rows come once and are stored four times, one write per cycle. Where copies overlap, the later word stays."""
    world = World(name, seed=9, stall=stall)
    world.dispatch(0, opcode=Opcode.LOAD, rows=4, k_tiles=3, destination_base=7, destination_stride=stride, copies=3,
                   region=Region.WEIGHTS)
    words = np.concatenate(world.payload(12 * world.config.word_beats)).astype(np.uint8).view("<i2").reshape(12, -1)
    world.run(300)
    assert world.residual == {7 + stride * copy + index: list(word)
                              for index, word in enumerate(words) for copy in range(4)}
    assert len(world.done) == 1 and (stall or world.done[0] == world.unit.latency_load + 4 * len(words))

@pytest.mark.parametrize("config", ["8x8", "8x8_wide", "16x16_four"])
def test_cycles_between_instructions(config):
    """The first beat is taken `latency` cycles after the dispatch, of a LOAD `latency_load` cycles. The next dispatch
    is taken in the cycle after the last beat."""
    world = World(config, seed=10)
    config, word = world.config, world.config.word_beats
    drop = {"opcode": DROP, "region_beats": 1}
    norm = {"opcode": Opcode.NORM, "rows": 2, "k_tiles": 2}
    load = {"opcode": Opcode.LOAD, "rows": 1, "k_tiles": 2}
    for instruction, beats in ((drop, config.bus_beats), (norm, 2 * word), (drop, config.bus_beats), (load, 2 * word),
                               (drop, config.bus_beats), (pass_of(1, 1, constant=1), config.k_lanes),
                               (drop, config.bus_beats)):
        world.dispatch(0, **instruction)
        world.payload(beats)
    world.run(120)
    tile = config.k_lanes // config.tile_beats
    lengths = [1, 2 * word, 1, 2, 1, tile, 1]  # cycles in which beats are taken
    at, beats, dispatched = 0, [], []
    for index, length in enumerate(lengths):
        dispatched.append(at)
        at += world.unit.latency_load if index == 3 else world.unit.latency
        beats += range(at, at + length)
        at += length
    assert world.dispatched == dispatched
    assert world.beats_taken == beats


def test_first_word_of_a_load():
    unit = WordLoader(TEST_CONFIGS["8x8"])
    written = Probe(unit.residual.payload.address, when=unit.residual.valid)
    done = Probe(when=unit.done)
    bench = StreamBench(unit, background=[written.run, done.run], settings={
        "allowed": 1, "beats.available": 3, "residual.ready": 1,
        "instruction": {name: 0 for name in instruction_layout().fields} | {"rows": 1, "k_tiles": 3}})
    bench.play(lambda ctx, cycle: ctx.set(unit.begin, cycle == 2), 10)
    first = 2 + unit.latency
    assert written.cycles == [first, first + 1, first + 2] and written.values == [0, 1, 2]
    assert done.cycles == [first + 3]


def test_refuses_what_is_not_a_configuration(unused_allowed):
    with pytest.raises(TypeError, match="'8x8'"):
        Loader("8x8")
