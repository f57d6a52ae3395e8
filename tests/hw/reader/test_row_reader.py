# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.hw.reader.row_reader import RowReader
from moevit.spec.isa import Opcode, Operand, RowSource

NAMES = ["8x8", "8x16_pairs", "8x16"]


def array_pass(operand=Operand.RAW, **fields):
    """A PASS of five rows of three words from the hidden memory."""
    return {"opcode": Opcode.PASS, "operand": operand, "source": RowSource.HIDDEN, "source_base": 17,
            "source_stride": 4, "source_peak": 0, "k_tiles": 3, "rows": 5, "n_tiles": 2, "overlap": 15, **fields}


def norm(rows=6, k_tiles=3, dim=24, **fields):
    """A NORM of residual rows."""
    return {"opcode": Opcode.NORM, "source_base": 5, "source_stride": k_tiles, "k_tiles": k_tiles, "rows": rows,
            "dim": dim, "inverse_dim": round(2**24 / dim), "epsilon": 9, "overlap": 15, **fields}


def run_one(place, instruction, expert=0, gains=()):
    expected = place.expect_pass(instruction, expert)
    seen = place.run([instruction], gains, [expert])
    place.check(seen, [expected])
    return seen


@pytest.mark.parametrize("name", NAMES)
def test_raw(world, name):
    place = world(name, 1)
    place.hidden[:] = place.random.integers(-256, 256, place.hidden.shape)
    run_one(place, array_pass())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("digits", [0, 1])
def test_row(world, name, digits):
    place = world(name, 2)
    place.hidden >>= place.random.integers(0, 17, (len(place.hidden), 1))  # all sizes of rows, the zero row as well
    instruction = array_pass(Operand.ROW, digits=digits, rows=20, source_peak=7)
    place.fit_peaks(instruction, range(20))
    run_one(place, instruction)


def test_residual_rows(world):
    place = world("8x8", 3)
    instruction = array_pass(Operand.ROW, source=RowSource.RESIDUAL, source_peak=40)
    place.fit_peaks(instruction, range(5))
    run_one(place, instruction)


@pytest.mark.parametrize("rows", [1, 32])
@pytest.mark.parametrize("k_tiles", [1, 2])
def test_row_counts(world, rows, k_tiles):
    place = world("8x8", 4)
    instruction = array_pass(Operand.ROW, rows=rows, k_tiles=k_tiles, n_tiles=3)
    place.fit_peaks(instruction, range(rows))
    run_one(place, instruction)


@pytest.mark.parametrize("gather, scatter, score", [(1, 0, 0), (0, 1, 1), (1, 1, 1), (0, 0, 1)])
def test_queue(world, gather, scatter, score):
    place = world("8x16", 5)
    expert = 3
    queue = place.queue[expert * place.config.max_tokens:][:9]
    queue[:, 0] = np.sort(place.random.permutation(place.config.max_tokens)[:9])
    instruction = array_pass(Operand.ROW, gather=gather, scatter=scatter, score=score, queued=1, rows=9)
    place.fit_peaks(instruction, range(place.config.max_tokens))
    run_one(place, instruction, expert)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("keys", [1, 7, 8, 17, 23, 24])
def test_exp(world, name, keys):
    place = world(name, 6)
    place.hidden >>= place.random.integers(2, 10, (len(place.hidden), 1))
    instruction = array_pass(Operand.EXP, keys=keys, source_peak=11)
    place.fit_peaks(instruction, range(5), absolute=False)
    run_one(place, instruction)


def test_exp_of_equal_logits(world):
    place = world("8x8", 7)
    place.hidden[:] = -32768
    instruction = array_pass(Operand.EXP, keys=21)
    place.fit_peaks(instruction, range(5), absolute=False)
    seen = run_one(place, instruction)
    assert {lane for row in seen.rows[:5] for lane in row[1]} == {255}


def test_exp_of_single_rows(world):
    """Words of a row follow one another as fast as tiles can."""
    place = world("8x8", 8)
    place.hidden >>= 4
    instruction = array_pass(Operand.EXP, keys=24, rows=1, n_tiles=3)
    place.fit_peaks(instruction, range(1), absolute=False)
    run_one(place, instruction)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("digits", [0, 1])
def test_norm(world, name, digits):
    place = world(name, 9)
    place.residual >>= place.random.integers(0, 14, (len(place.residual), 1))
    gain = place.random.integers(-32768, 32768, 24)
    gain[21:] = 0
    statistics = norm(dim=21)
    place.words(statistics, range(6))
    for row in range(6):
        place.residual[5 + 3 * row + 2, 5:] = 0
    records = place.apply_norm(statistics, gain)
    instruction = array_pass(Operand.NORM, source=RowSource.RESIDUAL, source_base=5, source_stride=3, rows=6,
                             digits=digits, overlap=0)
    seen = place.run([statistics, instruction], [gain])
    assert [(*record[:4], record[4] & 0xFFFF, record[5]) for record in seen.norms] == records
    place.check(seen, [place.expect_pass(instruction)])


@pytest.mark.parametrize("rowwise", [0, 1])
def test_norm_tells_the_sums(world, rowwise):
    """Not with ``rowwise``: then the row writer may be busy with its table."""
    place = world("8x16", 11)
    statistics = norm(rowwise=rowwise)
    records, gain = place.words(statistics, range(6)).sum(axis=1), place.random.integers(-3000, 3000, 24)
    place.apply_norm(statistics, gain)
    seen = place.run([statistics], [gain])
    assert seen.sums == ([] if rowwise else list(enumerate(records.tolist())))


@pytest.mark.parametrize("name, k_tiles", [
    ("8x8", 1), ("8x8", 3), *[("8x16_pairs", k_tiles) for k_tiles in (1, 2, 3, 6)],
    *[("8x16", k_tiles) for k_tiles in range(1, 8)]])
def test_norm_of_known_sums(world, name, k_tiles):
    """The rows' sums are those of the table, also when it is wrong: then mean and variance are cut to their widths."""
    place = world(name, 12)
    place.sums[:] = place.random.integers(-(1 << 26), 1 << 26, len(place.sums))
    statistics = norm(rows=20, k_tiles=k_tiles, dim=8 * k_tiles, summed=1)
    place.sums[:10] = place.words(statistics, range(10)).sum(axis=1)
    gain = place.random.integers(-32768, 32768, 8 * k_tiles)
    records = place.apply_norm(statistics, gain)
    instruction = array_pass(Operand.NORM, source=RowSource.RESIDUAL, source_base=5, source_stride=k_tiles,
                             k_tiles=k_tiles, rows=20, overlap=0)
    seen = place.run([statistics, instruction], [gain])
    assert [(record[0], *record[2:4], record[4] & 0xFFFF, record[5]) for record in seen.norms] == [
        (record[0], *record[2:]) for record in records]
    assert all((found[1] - wanted[1]) % 65536 == 0 for found, wanted in zip(seen.norms, records, strict=True))
    place.check(seen, [place.expect_pass(instruction)])
    assert seen.sums == []


def test_variance_zero(world):
    """Rows of equal values, the zero row among them: nothing but epsilon is left."""
    place = world("8x8", 10)
    place.residual[:] = np.arange(256)[:, None] // 3 * 100 - 300
    statistics, gain = norm(rows=8), place.random.integers(-3000, 3000, 24)
    statistics["source_base"] = 0
    records = place.apply_norm(statistics, gain)
    instruction = array_pass(Operand.NORM, source=RowSource.RESIDUAL, source_base=0, source_stride=3, rows=8)
    seen = place.run([statistics, instruction], [gain])
    assert [(*record[:4], record[4] & 0xFFFF, record[5]) for record in seen.norms] == records
    place.check(seen, [place.expect_pass(instruction)])
    assert {lane for row in seen.rows for lane in row[1]} == {0}


def test_config_refused(unused_allowed):
    with pytest.raises(TypeError, match="not '8x8'"):
        RowReader("8x8")


@pytest.mark.parametrize("name", NAMES)
def test_norms_close_together(world, name):
    """Each short NORM waits for its own means, and leaves the gain alone until the rows before it have read it."""
    place = world(name, 11)
    program, gains, records, expected = [], [], [], []
    for base in range(0, 40, 10):
        statistics = norm(rows=2, k_tiles=1, dim=8, source_base=base)
        gains.append(place.random.integers(-3000, 3000, 8))
        records += place.apply_norm(statistics, gains[-1])
        instruction = array_pass(Operand.NORM, source=RowSource.RESIDUAL, source_base=base, source_stride=1, k_tiles=1,
                                 rows=2)
        program += [statistics, instruction]
        expected.append(place.expect_pass(instruction))
    seen = place.run(program, gains)
    assert [(*record[:4], record[4] & 0xFFFF, record[5]) for record in seen.norms] == records
    place.check(seen, expected)
