# SPDX-License-Identifier: Apache-2.0
"""Random programs of everything that the row reader does, in a world that delays everything at random."""

import numpy as np
import pytest

from moevit.hw.layouts import Activity
from moevit.spec.isa import Opcode, Operand, RowSource

LENGTH = 10


def random_pass(place, operand, rows_limit):
    random, tokens = place.random, place.config.max_tokens
    k_tiles, rows = int(random.integers(1, 4)), int(random.integers(1, rows_limit + 1))
    instruction = {
        "opcode": Opcode.PASS, "operand": operand, "overlap": int(random.integers(0, 16)),
        "source": RowSource.HIDDEN,
        "source_base": int(random.integers(300)), "source_stride": int(random.integers(1, 5)),
        "rows": rows, "k_tiles": k_tiles, "n_tiles": int(random.integers(1, 4)),
        "scatter": int(random.integers(2)), "score": int(random.integers(2)),
    }
    if operand == Operand.EXP:
        keys = int(random.integers(8 * k_tiles - 7, 8 * k_tiles + 1))
        instruction |= {"keys": keys, "source_peak": tokens, "source_stride": 4, "source_base": 0, "k_tiles": k_tiles}
        place.fit_peaks(instruction, range(tokens), absolute=False)
    if operand == Operand.ROW:
        instruction |= {"source_peak": 0, "gather": int(random.integers(2))}
    if operand in (Operand.ROW, Operand.NORM):
        instruction["digits"] = int(random.integers(2))
    return instruction


@pytest.mark.parametrize("seed", range(6))
def test_random_program(world, seed):
    place = world(["8x8", "8x16", "8x16_pairs"][seed % 3], seed)
    random = place.random
    place.tile_delay = lambda random: random.integers(0, 40) * (random.random() < 0.3)
    place.writer_delay = lambda random: random.integers(8, 40)
    place.gain_stall = place.store_stall = lambda random: random.random() < 0.3
    place.hidden >>= 2
    place.peaks[:] = np.abs(place.hidden).max()
    program, expected, experts, gains, records, stored = [], [], [], [], [], []
    has_exp, norm_words = False, 0  # one EXP, since the table holds the maxima of one
    for _ in range(LENGTH):
        kind = random.choice(["raw", "row", "exp", "norm", "pass_norm", "store", "load"])
        if (kind == "exp" and has_exp) or (kind == "pass_norm" and not norm_words):
            kind = "row"
        expert = int(random.integers(place.config.max_experts))
        match kind:
            case "load":
                instruction = {"opcode": Opcode.LOAD, "rows": 1}
            case "store":
                instruction = {"opcode": Opcode.STORE, "source_base": int(random.integers(0, 100)), "source_stride": 3,
                               "rows": int(random.integers(1, 9)), "k_tiles": int(random.integers(1, 4)),
                               "overlap": int(random.integers(0, 16))}
                stored += place.words(instruction, range(instruction["rows"])).reshape(-1, 8).tolist()
            case "norm":
                norm_words = int(random.integers(1, 6))
                norm_rows = int(random.integers(1, place.config.max_tokens + 1))
                instruction = {"opcode": Opcode.NORM, "source_base": int(random.integers(0, 100)), "source_stride": 4,
                               "rows": norm_rows, "k_tiles": norm_words, "dim": 8 * norm_words,
                               "inverse_dim": round(2**21 / norm_words), "epsilon": int(random.integers(1, 1 << 32)),
                               "overlap": int(random.integers(0, 16)), "summed": int(random.integers(0, 2))}
                gains.append(random.integers(-3000, 3000, 8 * norm_words))
                records += place.apply_norm(instruction, gains[-1])
                norm = instruction
            case "pass_norm":
                instruction = random_pass(place, Operand.NORM, norm_rows) | {
                    field: norm[field] for field in ("source_base", "source_stride", "k_tiles")} | {"source": 0}
            case _:
                operand = {"raw": Operand.RAW, "row": Operand.ROW, "exp": Operand.EXP}[kind]
                has_exp |= kind == "exp"
                instruction = random_pass(place, operand, place.config.max_tokens)
        if instruction["opcode"] == Opcode.PASS:
            expected.append(place.expect_pass(instruction, expert))
        program.append(instruction)
        experts.append(expert)
    seen = place.run(program, gains, experts)
    place.check(seen, expected)
    assert [(*record[:4], record[4] & 0xFFFF, record[5]) for record in seen.norms] == records
    assert seen.words == stored
    assert seen.activities.count(Activity.BUSY) == len(seen.rows)
