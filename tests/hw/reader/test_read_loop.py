# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.hw.layouts import DROP, Accumulate, dispatch_layout
from moevit.hw.reader.access import ReadPurpose
from moevit.hw.reader.read_loop import ReadLoop
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.isa import Opcode, Operand

from ...configs import TEST_CONFIGS

OPERATIONS = Accumulate.SET, Accumulate.ADD, Accumulate.SHIFT_ADD  # of the first tile of each group


class Bench:
    """Dispatches instructions; ``inputs`` maps input ports to functions of the cycle (default 1, ``busy`` 0).

    ``stored``: (sequence, row).
    """

    def __init__(self, program, name="8x8", **inputs):
        self.unit, self.program, self.inputs = ReadLoop(TEST_CONFIGS[name]), list(program), inputs
        self.taken, self.accesses, self.cycles, self.done, self.commands = [], [], [], [], []
        self.waiting = self.norm = self.reading = self.load_gain = 0

    def value(self, name, cycle):
        return int(self.inputs[name](cycle)) if name in self.inputs else int(name not in ("busy", "finished"))

    def run(self, cycles):
        StreamBench(self.unit).play(self.step, cycles)

    def fields(self, *names):
        """These fields of all accesses."""
        types = {"purpose": ReadPurpose, "operation": Accumulate}
        return [tuple(types.get(name, int)(access[name]) for name in names) for access in self.accesses]

    def step(self, ctx, cycle):
        unit = self.unit
        offered = len(self.taken) < len(self.program) and self.value("offer", cycle)
        ctx.set(unit.dispatch.valid, offered)
        if offered:
            ctx.set(unit.dispatch.payload, dispatch_layout().const({
                "instruction": self.program[len(self.taken)], "sequence": len(self.taken), "expert": 5}))
        for name in ("row_room", "store_room", "busy", "gain_loaded", "measured", "norm_done", "finished"):
            ctx.set(getattr(unit, name), self.value(name, cycle))
        sequence, row = self.inputs.get("stored", lambda cycle: (0, 0))(cycle)
        ctx.set(unit.stored, {"sequence": sequence, "row": row})
        ctx.set(unit.store_command.ready, self.value("store_command", cycle))
        if offered and ctx.get(unit.dispatch.ready):
            self.taken.append(cycle)
        if ctx.get(unit.access.valid):
            self.accesses.append(ctx.get(unit.access.payload))
            self.cycles.append(cycle)
        if ctx.get(unit.done):
            self.done.append(cycle)
        if ctx.get(unit.store_command.valid) and ctx.get(unit.store_command.ready):
            command = ctx.get(unit.store_command.payload)
            self.commands.append((cycle, command.offset, command.words))
        for name in ("waiting", "norm", "reading", "load_gain"):
            setattr(self, name, getattr(self, name) + ctx.get(getattr(unit, name)))


def array_pass(**fields):
    return {"opcode": Opcode.PASS, "rows": 3, "k_tiles": 2, "n_tiles": 2, "overlap": 15, **fields}


@pytest.mark.parametrize("name, digits, sweeps", [("8x8", 0, 1), ("8x8", 1, 3), ("8x16", 0, 1), ("8x16", 1, 2)])
def test_loops_of_a_pass(name, digits, sweeps):
    """Sweeps of a gate's rows: high, low and, where an expert has one lane, high digit again."""
    bench = Bench([array_pass(digits=digits, operand=Operand.NORM, source_base=7, source_stride=9, keys=11)], name)
    bench.run(60)
    wanted = []
    for _ in range(2):
        for group in range(sweeps):
            for word in range(2):
                for row in range(3):
                    operation = Accumulate.ADD if word else OPERATIONS[group]
                    wanted.append((word, row, row == 0, operation, group == 1, group == sweeps - 1 and word == 1))
    assert bench.fields("word", "row", "swap", "operation", "low_digit", "final") == wanted
    assert [access.end for access in bench.accesses] == [0] * (len(wanted) - 1) + [1]
    assert set(bench.fields("purpose", "operand", "source_base", "source_stride", "keys", "expert")) == {
        (ReadPurpose.PASS, Operand.NORM, 7, 9, 11, 5)}
    assert bench.cycles == list(range(ReadLoop.latency, ReadLoop.latency + len(wanted)))


@pytest.mark.parametrize("field", ["gather", "scatter", "score"])
def test_lookup(field):
    bench = Bench([array_pass(**{field: 1}), array_pass()])
    bench.run(40)
    assert [access.queue_lookup for access in bench.accesses] == [1] * 12 + [0] * 12


def test_passes_follow_without_a_gap():
    bench = Bench([array_pass(), array_pass(rows=1, k_tiles=1, n_tiles=1), array_pass()])
    bench.run(60)
    assert bench.cycles == list(range(1, 26))


def test_no_room():
    random = np.random.default_rng(47)
    room = random.integers(0, 2, 100)
    bench = Bench([array_pass()], row_room=lambda cycle: room[cycle], store_room=lambda cycle: 0)
    bench.run(100)
    assert bench.cycles == [cycle for cycle in range(1, 100) if room[cycle]][:12]


@pytest.mark.parametrize("finished, overlap, starts", [
    (0, 0, True), (0xFFFF, 0, False), (0xFFFF, 1, True), (0xFFF1, 15, True), (0xFFF0, 15, False), (0x7FFF, 15, False),
])
def test_start_rule(finished, overlap, starts):
    bench = Bench([array_pass(overlap=overlap)], finished=lambda cycle: finished)
    bench.run(40)
    assert len(bench.accesses) == 12 * starts
    assert bench.waiting == (0 if starts else 39)
    assert bench.reading == 12 * starts


def test_start_one_cycle_after_the_count():
    bench = Bench([array_pass(overlap=2)], finished=lambda cycle: 0xFFFE if cycle >= 20 else 0xFFFD)
    bench.run(40)
    assert bench.cycles[0] == 21


ROWS = 8
FIRST = 5  # cycle from which row 0 is stored; the others follow, one per cycle


@pytest.mark.parametrize("overlap", [0, 1])
def test_rows_as_they_are_stored(overlap):
    """Row r is read two cycles after row r + 2 is stored, the last row when all is finished, seen a cycle later."""
    bench = Bench([array_pass(rows=ROWS, rowwise=1, overlap=overlap)],
                  stored=lambda cycle: (0xFFFF - overlap, min(max(cycle - FIRST, 0), ROWS - 1)),
                  finished=lambda cycle: (0xFFFF if cycle < 40 else 0) - overlap & 0xFFFF)
    bench.run(80)
    assert [access.row for access in bench.accesses] == 4 * list(range(ROWS))
    before = ROWS - 1  # the last one waits
    assert bench.cycles[:before] == [FIRST + row + 2 + 2 for row in range(before)]
    assert bench.cycles[before:] == list(range(41, 41 + 4 * ROWS - before))
    assert bench.waiting == 40 - before
    assert bench.reading == 4 * ROWS


@pytest.mark.parametrize("change", [
    {"rowwise": 0}, {"sequence": 0xFFFE}, {"sequence": 0}, {"finished": 0xFFFE},
    {"finished": 0xFFFE, "sequence": 0xFFFE}, {"finished": 0x8001}, {"row": 1},
])
def test_rows_that_may_not_be_read_yet(change):
    """No rowwise; rows of another pass; more than one instruction too many; row 2 not stored."""
    values = {"rowwise": 1, "sequence": 0xFFFF, "finished": 0xFFFF, "row": 7} | change
    bench = Bench([array_pass(rows=ROWS, rowwise=values["rowwise"], overlap=0)],
                  stored=lambda cycle: (values["sequence"], values["row"]), finished=lambda cycle: values["finished"])
    bench.run(40)
    assert bench.accesses == []
    assert bench.waiting == 39


def test_stored_rows_are_those_of_one_instruction():
    """A pass started on rows that were stored. The next one has a smaller overlap and must not."""
    program = [array_pass(rows=ROWS, k_tiles=1, n_tiles=1, rowwise=1, overlap=1), array_pass(rowwise=1, overlap=0)]
    bench = Bench(program, stored=lambda cycle: (0xFFFE, 7), finished=lambda cycle: 0xFFFE if cycle < 20 else 0xFFFF)
    bench.run(60)
    assert len(bench.accesses) == ROWS


@pytest.mark.parametrize("cycle", range(1, 6))
def test_a_drop_leaves_nothing_behind(cycle):
    """A dropped instruction might have read stored rows. The next one must not start because of them."""
    program = [{"opcode": DROP, "rows": ROWS, "rowwise": 1}, array_pass(overlap=1)]
    bench = Bench(program, offer=lambda now: now in (0, cycle), stored=lambda cycle: (0xFFFF, 7),
                  finished=lambda cycle: 0xFFFF)
    bench.run(20)
    assert bench.taken == [0, cycle]
    assert bench.accesses == []


def test_no_end_before_what_it_waits_for():
    """More rows are stored than are read. The last one waits all the same."""
    bench = Bench([{"opcode": Opcode.NORM, "rows": 4, "k_tiles": 1, "rowwise": 1}], stored=lambda cycle: (0xFFFF, 9),
                  finished=lambda cycle: 0xFFFF if cycle < 40 else 0)
    bench.run(60)
    assert [cycle for cycle in bench.cycles if cycle < 41] == bench.cycles[:3]
    assert bench.cycles[3] == 41


def test_norm():
    norm = {"opcode": Opcode.NORM, "rows": 3, "k_tiles": 2, "overlap": 15}
    bench = Bench([norm, array_pass()], busy=lambda cycle: cycle < 4, gain_loaded=lambda cycle: cycle == 8,
                  measured=lambda cycle: cycle >= 30, norm_done=lambda cycle: cycle == 50)
    bench.run(80)
    assert bench.load_gain == 5
    found = bench.fields("row", "word", "first", "final", "end", "purpose")[:12]
    once = [(row, word, word == 0, word == 1) for row in range(3) for word in range(2)]
    assert found == ([(*place, index == 5, ReadPurpose.MEANS) for index, place in enumerate(once)]
                     + [(*place, index == 5, ReadPurpose.PEAKS) for index, place in enumerate(once)])
    assert bench.cycles[:12] == [*range(9, 15), *range(30, 36)]
    assert bench.done == [50]
    assert bench.taken == [0, 50]
    assert bench.norm == 50
    assert bench.cycles[12] == 51


def test_norm_with_sums():
    """Every word once, whatever is ``measured``."""
    norm = {"opcode": Opcode.NORM, "rows": 3, "k_tiles": 2, "overlap": 15, "summed": 1}
    bench = Bench([norm], gain_loaded=lambda cycle: cycle == 8, measured=lambda cycle: 0,
                  norm_done=lambda cycle: cycle == 50)
    bench.run(80)
    assert bench.fields("row", "word", "first", "final", "end", "purpose") == [
        (row, word, word == 0, word == 1, (row, word) == (2, 1), ReadPurpose.PEAKS)
        for row in range(3) for word in range(2)]
    assert bench.cycles == [*range(9, 15)]
    assert bench.done == [50]


@pytest.mark.parametrize("name", ["8x8", "8x16_pairs", "8x16"])
@pytest.mark.parametrize("k_tiles", range(1, 8))
@pytest.mark.parametrize("summed", [0, 1])
def test_norm_by_several_words(name, k_tiles, summed):
    """The last sweep reads several words; a PASS after it reads word by word."""
    norm = {"opcode": Opcode.NORM, "rows": 3, "k_tiles": k_tiles, "overlap": 15, "summed": summed}
    norm_words = TEST_CONFIGS[name].norm_words
    bench = Bench([norm, array_pass(k_tiles=k_tiles)], name, gain_loaded=lambda cycle: cycle == 8,
                  measured=lambda cycle: cycle >= 30, norm_done=lambda cycle: cycle == 60)
    bench.run(110)
    found = bench.fields("row", "word", "following_mask", "first", "final", "end", "purpose")
    means = [] if summed else [
        (row, word, 0, word == 0, word == k_tiles - 1, (row, word) == (2, k_tiles - 1), ReadPurpose.MEANS)
        for row in range(3) for word in range(k_tiles)]
    peaks = [(row, word, (1 << min(norm_words, k_tiles - word) - 1) - 1, word == 0, word + norm_words >= k_tiles,
              row == 2 and word + norm_words >= k_tiles, ReadPurpose.PEAKS)
             for row in range(3) for word in range(0, k_tiles, norm_words)]
    norms = len(means) + len(peaks)
    assert found[:norms] == means + peaks
    start = 9 if summed else 30
    assert bench.cycles[:norms] == [*range(9, 9 + len(means)), *range(start, start + len(peaks))]
    assert bench.fields("word", "row", "following_mask")[norms:] == 2 * [
        (word, row, 0) for word in range(k_tiles) for row in range(3)]
    assert all((access.gain_address, access.gain_offset) == divmod(access.word, norm_words)
               for access in bench.accesses)


def test_store():
    store = {"opcode": Opcode.STORE, "rows": 3, "k_tiles": 2, "overlap": 15, "region_offset": 0xABCDEF01}
    bench = Bench([store, array_pass()], store_command=lambda cycle: cycle >= 19,
                  store_room=lambda cycle: cycle % 2, row_room=lambda cycle: cycle >= 40)
    bench.run(80)
    assert bench.commands == [(19, 0xABCDEF01, 6)]
    assert bench.fields("row", "word", "purpose")[:6] == [
        (row, word, ReadPurpose.STORE) for row in range(3) for word in range(2)]
    assert bench.cycles[:7] == [21, 23, 25, 27, 29, 31, 40]


def test_words_of_a_store():
    sizes = [(1, 1), (4095, 4095), (1365, 2730), (2048, 3)]
    for rows, words in sizes:
        bench = Bench([{"opcode": Opcode.STORE, "rows": rows, "k_tiles": words, "overlap": 15}])
        bench.run(20)
        assert bench.commands == [(ReadLoop.latency_command, 0, rows * words)]


def test_others_are_dropped():
    bench = Bench([{"opcode": Opcode.LOAD, "rows": 5}, {"opcode": Opcode.IMAGE, "rows": 5}, array_pass()])
    bench.run(30)
    assert bench.taken == [0, 1, 2]
    assert bench.cycles == list(range(3, 15))
