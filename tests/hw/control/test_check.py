# SPDX-License-Identifier: Apache-2.0
"""Legal instructions pass; each rule is broken once at its edge."""

from dataclasses import replace

import numpy as np
import pytest

from moevit.hw.control.check import Check
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.arrays import CONFIGS
from moevit.spec.isa import (
    FIELDS,
    GROUPS,
    Activation,
    Destination,
    Opcode,
    Operand,
    Peak,
    ProgramError,
    Region,
    RowSource,
    Saturation,
    WeightSource,
    decode,
    encode,
)
from moevit.spec.registers import ErrorCode

from ...configs import TEST_CONFIGS

#: Sizes that the addresses below are at the edge of.
CONFIG = replace(CONFIGS["8x8"], max_tokens=32, residual_words=256, hidden_words=512, kv_words=512)
LOAD = {"opcode": Opcode.LOAD, "region": Region.WEIGHTS, "rows": 4, "k_tiles": 3, "destination_base": 10}
IMAGE = {"opcode": Opcode.IMAGE, "region": Region.IMAGE, "rows": 6, "patch": 8, "segment": 3, "patches_x": 3,
         "destination_stride": 25}
NORM = {"opcode": Opcode.NORM, "region": Region.WEIGHTS, "rows": 4, "k_tiles": 3, "dim": 20, "epsilon": 1,
        "source_stride": 3, "inverse_dim": 1 << 20}
STORE = {"opcode": Opcode.STORE, "rows": 4, "k_tiles": 3, "source_stride": 3}
PASS = {"opcode": Opcode.PASS, "region": Region.WEIGHTS, "rows": 4, "k_tiles": 3, "n_tiles": 2, "columns": 9,
        "source_stride": 3, "destination_stride": 3, "destination": Destination.HIDDEN, "overlap": 2}
KEYS = PASS | {"region": Region.NONE, "constant": 1, "constant_scale": 5, "weights": WeightSource.KEYS,
               "kv_n_stride": 20, "kv_k_stride": 50}
GATE = PASS | {"region": Region.GATES, "operand": Operand.NORM, "digits": 1, "n_tiles": 1, "columns": 6, "top_k": 2,
               "destination": Destination.ROUTER}
QUEUED = {"queued": 1, "gather": 1, "expert_beats": 100}

#: (instruction, changes that stay legal, changes that break OPERAND); "rep" marks the body of EXPERTS
CASES = [
    (LOAD, [{"rows": 32}, {"destination_base": 244}, {"copies": 3, "destination_stride": 78},
            {"copies": 7, "destination_stride": 30, "destination_base": 34}],
     [{"rows": 0}, {"rows": 33, "k_tiles": 1}, {"k_tiles": 0}, {"destination_base": 245}, {"overlap": 1},
      {"copies": 3, "destination_stride": 79}, {"copies": 1, "destination_stride": 65535},
      {"copies": 7, "destination_stride": 30, "destination_base": 35}]),
    (IMAGE, [{"rows": 3}, {"rows": 9}, {"patches_x": 6}, {"destination_base": 512 - 5 * 25 - 24}],
     [{"rows": 0}, {"rows": 7}, {"rows": 8}, {"patch": 0}, {"segment": 0}, {"patches_x": 0}, {"patches_x": 4},
      {"destination_base": 512 - 5 * 25 - 23}, {"overlap": 1}]),
    (NORM, [{"dim": 24}, {"dim": 17}, {"copy": 1, "destination_base": 244}, {"source_base": 244}, {"rowwise": 1}],
     [{"dim": 0}, {"dim": 25}, {"epsilon": 0}, {"copy": 1, "rowwise": 1}, {"copy": 1, "destination_base": 245},
      {"source_base": 245},
      {"rows": 0}, {"k_tiles": 0}, {"overlap": 1}]),
    (STORE, [{"source_base": 244}, {"rows": 32}], [{"source_base": 245}, {"rows": 0}, {"k_tiles": 0}]),
    (PASS, [{"columns": 16}, {"overlap": 15}, {"activation": max(Activation)},
            {"region": Region.GATES}, {"region": Region.GATES, "destination": Destination.RESIDUAL},
            {"source": RowSource.HIDDEN, "source_base": 500},
            {"operand": Operand.ROW, "source_peak": 124}, {"peak": Peak.ABSOLUTE, "destination_peak": 124},
            {"operand": Operand.EXP, "keys": 1}, {"destination": Destination.RESIDUAL, "destination_base": 245},
            {"destination_base": 501},
            {"destination": Destination.KEYS, "destination_base": 505},
            {"destination": Destination.VALUES, "destination_base": 505}, {"constant": 1}, {"source_base": 244},
            {"rows": 32, "group": 4}, {"group": 1, "gap": 15, "destination_base": 501 - 45 * 3},
            {"rows": 9, "group": 4, "gap": 2, "destination_base": 512 - 12 * 3 - 2},
            {"group": 4, "gap": 15, "destination_base": 501},
            {"group": 2, "gap": 3, "destination": Destination.KEYS, "destination_base": 502},
            {"group": 2, "gap": 3, "peak": Peak.ABSOLUTE, "destination_peak": 121}],
     [{"columns": 0}, {"columns": 8}, {"columns": 17}, {"n_tiles": 0}, {"k_tiles": 0}, {"rows": 0}, {"rows": 33},
      {"weights": 3}, {"first_word": 1}, {"activation": max(Activation) + 1}, {"sigmoid": 1}, {"biased": 1},
      {"rows": 1, "sets_bias": 1}, {"destination": 5}, {"saturation": max(Saturation) + 1}, {"peak": 3},
      {"source": RowSource.HIDDEN, "source_base": 501},
      {"operand": Operand.ROW, "source_peak": 125}, {"peak": Peak.ABSOLUTE, "destination_peak": 125},
      {"operand": Operand.EXP, "keys": 0}, {"destination": Destination.RESIDUAL, "destination_base": 246},
      {"destination_base": 502}, {"digits": 1}, {"digits": 1, "operand": Operand.NORM},
      {"destination": Destination.KEYS, "destination_base": 506},
      {"destination": Destination.VALUES, "destination_base": 506}, {"gather": 1}, {"scatter": 1}, {"score": 1},
      {"queued": 1}, {"source_base": 245}, {"gap": 1}, {"rows": 32, "group": 3}, {"rows": 17, "group": 2},
      {"group": 1, "gap": 15, "destination_base": 502 - 45 * 3},
      {"rows": 9, "group": 4, "gap": 2, "destination_base": 513 - 12 * 3 - 2},
      {"group": 2, "gap": 3, "destination": Destination.KEYS, "destination_base": 503},
      {"group": 2, "gap": 3, "peak": Peak.ABSOLUTE, "destination_peak": 122}]),
    (KEYS, [{"kv_base": 512 - 20 - 100 - 8}, {"constant": 0, "region": Region.GATES}],
     [{"kv_base": 512 - 20 - 100 - 7}, {"digits": 1, "operand": Operand.ROW}, {"region": Region.WEIGHTS}]),
    (GATE, [{"top_k": 6}, {"columns": 8}, {"operand": Operand.ROW}, {"weights": WeightSource.KEYS, "digits": 0},
            {"sigmoid": 1, "biased": 1}, {"rows": 1, "sets_bias": 1}],
     [{"top_k": 0}, {"top_k": 7}, {"n_tiles": 2, "columns": 9}, {"columns": 9}, {"rep": 1}, {"operand": Operand.RAW},
      {"operand": Operand.EXP, "keys": 3}, {"weights": WeightSource.KEYS}, {"rows": 2, "sets_bias": 1}]),
    (PASS | QUEUED | {"rep": 1}, [{"scatter": 1, "score": 1}, {"source_base": 223}, {"destination_base": 501},
                                  {"gather": 0, "rowwise": 1}],
     [{"rep": 0}, {"group": 4}, {"rowwise": 1}, {"source_base": 224}, {"scatter": 1, "destination_base": 481}]),
    ({"opcode": Opcode.END}, [], [{"overlap": 1}]),
    ({"opcode": Opcode.EXPERTS, "body": 2}, [], [{"overlap": 1}]),
]
TOKENS, EXPERT = 11, 3  # that the router saw; whose body it is


def beats(config, fields):
    """Beats of the bus that the instruction consumes, or 0 without a stream."""
    get = fields.get
    if not get("region"):
        return 0
    match fields["opcode"]:
        case Opcode.LOAD:
            return fields["rows"] * fields["k_tiles"] * config.word_beats // config.bus_beats
        case Opcode.NORM:
            return fields["k_tiles"] * config.word_beats // config.bus_beats
        case Opcode.IMAGE:
            return -(-fields["rows"] * fields["patch"] * fields["segment"] * 8 // config.bus_bytes)
        case Opcode.PASS:
            tiles = fields["k_tiles"] * (config.gate_sweeps if get("digits") else 1) * config.k_lanes
            per_n_tile = (0 if get("weights") else tiles) + (0 if get("constant") else 4)
            return fields["n_tiles"] * per_n_tile // config.bus_beats


def examine(config, cases, base=0x1_0000_0000):
    """The (code, address) of each (fields, repeated)."""
    check = Check(config)
    found = []

    async def bench(ctx):
        ctx.set(check.tokens, TOKENS)
        ctx.set(check.expert, EXPERT)
        ctx.set(check.base, base)
        for words, repeated in cases:
            value = sum(int(word) << 32 * index for index, word in enumerate(words))
            ctx.set(check.instruction.as_value(), value)
            ctx.set(check.repeated, repeated)
            ctx.set(check.start, 1)
            for _ in range(Check.latency):
                await ctx.tick()
                ctx.set(check.start, 0)
            found.append((ErrorCode(ctx.get(check.fault.code)), ctx.get(check.fault.address)))

    StreamBench(check).simulate(bench)
    return found


def encoded(config, fields):
    fields = dict(fields)
    repeated = fields.pop("rep", 0)
    fields = {"region_beats": beats(config, fields), **fields}
    if not fields["region_beats"]:
        del fields["region_beats"]
    return encode(**fields), repeated


def test_rules():
    config = CONFIG
    legal = [(base, change) for base, good, _ in CASES for change in [{}, *good]]
    broken = [(base, change) for base, _, bad in CASES for change in bad]
    found = examine(config, [encoded(config, base | change) for base, change in legal + broken])
    for (base, change), (code, _) in zip(legal, found, strict=False):
        assert code == ErrorCode.NONE, (Opcode(base["opcode"]).name, change)
    for (base, change), (code, address) in zip(broken, found[len(legal):], strict=True):
        assert code == ErrorCode.OPERAND, (Opcode(base["opcode"]).name, change)
        assert address == 0


def test_latency():
    """The verdict is complete after `latency` cycles, and not before: rows mod patches_x comes last."""
    check = Check(CONFIG)
    words, _ = encoded(CONFIG, IMAGE | {"rows": 7})
    seen = []

    def step(ctx, cycle):
        ctx.set(check.instruction.as_value(), sum(int(word) << 32 * index for index, word in enumerate(words)))
        ctx.set(check.start, cycle == 20)
        seen.append(ctx.get(check.fault.code))

    StreamBench(check).play(step, 60)
    wrong = [cycle - 20 for cycle in range(20, 60) if seen[cycle] != ErrorCode.OPERAND]
    assert max(wrong) == Check.latency - 1


def test_first_word():
    """Where an n-tile is two words, and a column lies behind the first; the last word's address stays where it was."""
    config, start = CONFIGS["8x16"], {"n_tiles": 1, "first_word": 1}
    base = PASS | start | {"constant": 1, "constant_scale": 5}
    cases = [(9, {}, True), (16, {}, True), (8, {}, False), (1, {}, False), (17, {"n_tiles": 2}, True),
             (16, {"constant": 0}, True), (16, {"destination_base": config.hidden_words - 3 * 3 - 2}, True),
             (16, {"destination_base": config.hidden_words - 3 * 3 - 1}, False)]
    found = examine(config, [encoded(config, base | {"columns": columns} | change) for columns, change, _ in cases])
    for (*case, legal), (code, _) in zip(cases, found, strict=True):
        assert code == (ErrorCode.NONE if legal else ErrorCode.OPERAND), case


@pytest.mark.parametrize("name", ["8x8", "8x16", "16x16", "32x32", "32x64", "8x8_wide"])
def test_beats(name):
    """One beat more or fewer than what is consumed is refused."""
    config = TEST_CONFIGS[name]
    columns = {"columns": config.n_lanes + 1, "n_tiles": 2}
    instructions = [LOAD, NORM | {"dim": 3 * config.k_lanes}, PASS | columns, PASS | columns | {"constant": 1}, GATE,
                    KEYS | columns | {"constant": 0, "region": Region.WEIGHTS}]
    if config.bus_bytes <= 16:
        instructions += [IMAGE | {"rows": 3}, IMAGE | {"rows": 3, "patch": 3, "segment": 1}]
    cases, expected = [], []
    for fields in instructions:
        right = beats(config, fields)
        for wrong in (0, 1, -1, 1 << 20):
            cases.append((encode(**fields | {"region_beats": right + wrong}), 0))
            expected.append(ErrorCode.OPERAND if wrong else ErrorCode.NONE)
    assert [code for code, _ in examine(config, cases)] == expected


def test_unused_fields_are_illegal():
    """Every field of every opcode that does not have it, and every unknown opcode."""
    cases = []
    for opcode in (0, *Opcode, 8, 129, 255):
        for field in FIELDS[1:]:
            words = np.zeros(16, np.uint32)
            words[0] = opcode
            words[field.word] |= np.uint32(1 << field.lsb + field.width - 1)
            try:
                decode(words)
            except ProgramError:
                cases.append((words, 0))
    found = examine(CONFIGS["8x8"], cases)
    assert len(cases) > 200
    assert set(found) == {(ErrorCode.ILLEGAL_OPCODE, 0)}


@pytest.mark.parametrize("base", [0, 0x12_3456_7890, (1 << 40) - 0x1000, 1 << 40, (1 << 64) - 0x100])
@pytest.mark.parametrize("name", ["8x16", "8x8_wide"])
def test_addresses(name, base):
    """base + region_offset + expert x expert_beats x bus_bytes; beyond 40 bits it is refused."""
    config = TEST_CONFIGS[name]
    columns = {"columns": config.n_lanes + 1}
    instructions = [
        PASS | columns | {"region_offset": 0x400},
        PASS | columns | QUEUED | {"region_offset": 0xF000_0000, "expert_beats": (1 << 24) - 1, "rep": 1},
        STORE | {"region_offset": 0x1000},
    ]
    offsets = [0x400, 0xF000_0000 + EXPERT * ((1 << 24) - 1) * 16, 0x1000]
    codes = [ErrorCode.READ_WINDOW, ErrorCode.READ_WINDOW, ErrorCode.WRITE_WINDOW]
    found = examine(config, [encoded(config, fields) for fields in instructions], base)
    for offset, code, (seen, address) in zip(offsets, codes, found, strict=True):
        assert address == (base + offset) % (1 << 40)
        assert seen == (code if base + offset >> 40 else ErrorCode.NONE)


def test_random_extents():
    """Against sums in Python, around the end of each memory."""
    seed = 4
    print(f"seed {seed}")
    config = CONFIGS["8x16"]
    random = np.random.default_rng(seed)
    cases, expected = [], []
    for _ in range(150):
        rows, k, n = (int(v) for v in random.integers(1, (17, 6, 4)))
        columns = int(random.integers((n - 1) * 16, n * 16)) + 1
        destination = Destination(int(random.integers(0, 4)))
        source = RowSource(int(random.integers(0, 2)))
        strides = [int(v) for v in random.integers(0, 30, 4)]
        sizes = {Destination.RESIDUAL: config.residual_words, Destination.HIDDEN: config.hidden_words,
                 Destination.KEYS: config.kv_words, Destination.VALUES: config.kv_words}
        word = (columns - 1) // 8
        group, gap = (int(v) for v in random.integers((0, 0), (rows + 3, 16)))
        group, gap = (group, gap) if group and rows <= GROUPS * group else (0, 0)
        last_row = rows - 1 + (-(-rows // group) - 1) * gap if group else rows - 1
        last = {Destination.KEYS: word * strides[1] + last_row // 2,
                Destination.VALUES: word // 2 * strides[1] + last_row,
                }.get(destination, last_row * strides[1] + word)
        last_source = (rows - 1) * strides[0] + k - 1
        source_size = (config.residual_words, config.hidden_words)[source]
        last_kv = (n - 1) * strides[2] + (k - 1) * strides[3] + 7
        bases = [max(0, size - 1 - end + int(delta)) for size, end, delta in zip(
            (source_size, sizes[destination], config.kv_words), (last_source, last, last_kv),
            random.choice([-1, 0, 1], 3, p=[0.3, 0.5, 0.2]), strict=True)]
        cases.append((encode(
            opcode=Opcode.PASS, rows=rows, k_tiles=k, n_tiles=n, columns=columns, constant=1,
            weights=WeightSource.VALUES, source=source, destination=destination, source_stride=strides[0],
            destination_stride=strides[1], kv_n_stride=strides[2], kv_k_stride=strides[3],
            source_base=bases[0], destination_base=bases[1], kv_base=bases[2], group=group, gap=gap), 0))
        fits = (bases[0] + last_source < source_size and bases[1] + last < sizes[destination]
                and bases[2] + last_kv < config.kv_words)
        expected.append(ErrorCode.NONE if fits else ErrorCode.OPERAND)
    assert 30 < expected.count(ErrorCode.NONE) < 120
    assert [code for code, _ in examine(config, cases)] == expected
