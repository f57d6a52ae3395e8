# SPDX-License-Identifier: Apache-2.0
"""Legal and illegal instructions, one per cycle; all fields of all opcodes are in ``test_check``."""

from moevit.hw.control.decode import Decode
from moevit.sim.bench.stream_bench import StreamBench
from moevit.spec.isa import FIELDS, Opcode


def test_latency():
    fields = dict.fromkeys((field.name for field in FIELDS), 0)
    cases = [({"opcode": Opcode.END}, 0), ({"opcode": 99}, 1), ({"opcode": Opcode.END, "rows": 1}, 1),
             ({"opcode": Opcode.STORE, "rows": 1}, 0), ({"opcode": 0}, 1), ({"opcode": Opcode.END}, 0)]
    found = StreamBench(Decode()).words({"instruction": [fields | changes for changes, _ in cases]}, ["illegal"],
                                        Decode.latency)
    assert found["illegal"] == [illegal for _, illegal in cases]
