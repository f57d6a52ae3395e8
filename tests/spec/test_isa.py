# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from moevit.spec.isa import FIELDS, INSTRUCTION_BYTES, Opcode, ProgramError, decode, encode


def test_fields_do_not_overlap_and_fit():
    used = np.zeros(8 * INSTRUCTION_BYTES, bool)
    for field in FIELDS:
        assert field.lsb + field.width <= 32, field.name
        bits = slice(32 * field.word + field.lsb, 32 * field.word + field.lsb + field.width)
        assert not used[bits].any(), field.name
        used[bits] = True


@pytest.mark.parametrize("opcode", Opcode)
def test_round_trip(opcode):
    seed = 7
    rng = np.random.default_rng(seed)
    for _ in range(50):
        fields = {f.name: int(rng.integers(1 << f.width)) for f in FIELDS if opcode in f.opcodes}
        fields["opcode"] = opcode
        assert decode(encode(**fields)) == fields, f"seed {seed}"


def test_refusals_name_the_field():
    with pytest.raises(ProgramError, match="LOAD has no keys"):
        encode(opcode=Opcode.LOAD, keys=3)
    with pytest.raises(ProgramError, match="rows = 4096 does not fit 12 bits"):
        encode(opcode=Opcode.LOAD, rows=4096)
    with pytest.raises(ProgramError, match="no field is called 'row'"):
        encode(opcode=Opcode.LOAD, row=1)
    with pytest.raises(ProgramError, match="illegal opcode 0"):
        decode(np.zeros(16, np.uint32))
    words = encode(opcode=Opcode.END)
    words[7] |= 1  # rows
    with pytest.raises(ProgramError, match="END has no rows"):
        decode(words)
