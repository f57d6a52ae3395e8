# SPDX-License-Identifier: Apache-2.0
"""The measured frames as Markdown: ``docs/performance.md`` and the table in the README."""

import re
from collections.abc import Sequence
from typing import Any

from moevit.estimator.onchip import dsp_slices
from moevit.spec.arrays import CONFIGS

from .frame import READ_LATENCY
from .peers import PEERS
from .tokens import CONFIG, NETWORK, cycles_against_tokens, lengths

__all__ = ["FRAME", "TOKENS", "document", "readme_with"]

#: Pictures in ``docs/pictures`` that the document shows: one frame, and cycles against tokens.
FRAME, TOKENS = "m3vit_tiny-zcu104", "cycles_against_tokens"

_BEGIN, _END = "<!-- Written by `make bench`; do not edit. -->", "<!-- End of what `make bench` writes. -->"
_PEERS_NETWORK = "m3vit_tiny"
_DASH = "–"  # no printed figure was found

_INTRODUCTION = f"""\
{_BEGIN}

# Performance

These frames ran on the RTL (Verilator), one image at a time unless a batch is named. The memory model has
{READ_LATENCY} cycles of read latency and the usable bandwidth of the board ([configurations](configurations.md)). Every
byte passes through AXI4. The machine counts the cycles. **Clocks are assumed**: none of these machines was placed,
routed or run on a board.

- bound: the larger of two lower bounds in cycles. Memory: bytes read over usable bandwidth. Compute: the network's
  multiply-accumulates over those of the array per cycle. share: bound over cycles.
- predicted: `moevit estimate`, with the frame's own loads of the experts.
- exact: the number of output values that were compared with the integer model. All are equal.
- weights: the experts of M3ViT are not published. Synthetic gates are tuned to loads that were measured on the
  published ones (`estimator/loads.py`); {{weights}}.
"""

_PEERS_TEXT = """
## Beside published work

All rows are M3ViT-tiny. The figures of the others were measured on a board; ours are simulated cycles at an assumed
clock. So this compares designs, not products. MACs per cycle are computed from {macs:.1f} M multiply-accumulates per
frame (129 tokens, top 2). The papers' own GOPS figures count 2.5 G operations, which is a ViT-tiny of 197 tokens.
CoQMoE does not print its number of tokens.

"Total DSP" counts every slice of a design, also those of norms, scaling and control. Ours is
`moevit.estimator.onchip.dsp_slices`, which equals Yosys's count ([area](area.md)). A dash: we found no printed figure.
"""

_ENERGY_TEXT = """
## Energy, without a board

No power was measured, since no machine ran on a board. The break-even power can be computed: at this power, one of our
images costs as much energy as the best published frame of M3ViT-tiny. Below it, ours costs less. The best published
energy is {best:.1f} mJ: {name}'s {watts:g} W times {ms:g} ms on a {board}
({source}). The other designs of the table above need
{others}.

{table}
The milliseconds are simulated cycles at an assumed clock. A lower clock lowers the break-even power, at most in
proportion. A fair comparison measures our power at the same place as the paper's: the chip alone, or the whole board.

A bottom-up estimate is left out: not every coefficient (energy of an int8 multiply-accumulate in a DSP slice, of a byte
of DDR and of block RAM, static power of each part) has a public source that we can cite.
"""


_WHERE_TEXT = """
## Where the cycles went

The columns on the right are shares of a frame's cycles by the state of the row reader
([counters](registers.md#counters)). "Of the array" is the network's multiply-accumulates over those that the array
could do in all cycles. "Unpadded" is the same over the cycles in which a row entered the array: the share that a frame
without any waiting would reach. The rest is padding, such as 129 keys in tiles of 64.

"""


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _named(row: dict[str, Any]) -> str:
    return row["network"] + (f", batch {row['batch']}" if row["batch"] > 1 else "")


def _bound(row: dict[str, Any]) -> tuple[int, str]:
    return max((row["ddr_bound_cycles"], "memory"), (row["compute_bound_cycles"], "compute"))


def _cells(row: dict[str, Any]) -> list[str]:
    bound, kind = _bound(row)
    return [
        _named(row), row["class"], row["array"], f"{row['cycles']:,}", f"{row['clock_mhz']:g}", f"{row['ms']:.2f}",
        f"{bound:,} ({kind})", f"{bound / row['cycles']:.0%}", f"{row['macs_per_cycle']:,.0f}",
        f"{row['macs_per_cycle'] / row['mac_dsps']:.2f}",
        f"{row['predicted_cycles']:,} ({row['predicted_cycles'] / row['cycles'] - 1:+.1%})",
        f"{row['values']:,}" if row["bit_exact"] else "**different**",
    ]


_HEADER = ("network", "board", "array", "cycles", "MHz (assumed)", "ms", "bound, cycles", "share", "MACs / cycle",
           "per MAC DSP", "predicted", "exact")


def _beside_peers(rows: Sequence[dict[str, Any]]) -> str:
    mine = [row for row in rows if row["network"] == _PEERS_NETWORK and row["batch"] == 1]
    if not mine:
        return ""
    macs = mine[0]["macs"]
    lines = []
    for peer in PEERS:
        rate = macs / (peer.ms * 1e3 * peer.clock_mhz)
        lines.append([peer.name, peer.board, peer.bits, peer.clock_mhz, _DASH, f"{peer.dsp:,}" if peer.dsp else _DASH,
                      f"{peer.ms:.2f}", f"{rate:,.0f}", _DASH, f"{rate / peer.dsp:.2f}" if peer.dsp else _DASH,
                      peer.source])
    for row in mine:
        rate, dsp = row["macs_per_cycle"], dsp_slices(CONFIGS[row["array"]])
        lines.append(["moevit", f"{row['class']}, simulated", "INT8", f"{row['clock_mhz']:g} (assumed)",
                      f"{row['mac_dsps']:,}", f"{dsp:,}", f"{row['ms']:.2f}", f"{rate:,.0f}",
                      f"{rate / row['mac_dsps']:.2f}", f"{rate / dsp:.2f}", "`make bench`"])
    return _PEERS_TEXT.format(macs=macs / 1e6) + "\n" + _table(
        ("design", "board", "bits", "MHz", "MAC DSP", "total DSP", "ms", "MACs / cycle", "per MAC DSP", "per total DSP",
         "source"), lines) + _energy(rows)


def _energy(rows: Sequence[dict[str, Any]]) -> str:
    """Break-even power of the rows of the peers' network."""
    best, *others = sorted(PEERS, key=lambda peer: peer.millijoules)
    lines = []
    for row in rows:
        if row["network"] == _PEERS_NETWORK:
            ms = row["ms"] / row["batch"]
            lines.append([_named(row), row["class"], f"{row['clock_mhz']:g}", f"{ms:.2f}",
                          f"{best.millijoules / ms:.1f}"])
    table = _table(("network", "board", "MHz (assumed)", "ms per image", "break-even, W"), lines)
    return _ENERGY_TEXT.format(
        best=best.millijoules, name=best.name, watts=best.watts, ms=best.ms, board=best.board,
        source=best.source.partition(";")[0], table=table,
        others=" and ".join(f"{peer.millijoules:.1f} mJ ({peer.name})" for peer in others))


def _picture(name: str, what: str) -> str:
    return f"![{what}](pictures/{name}.png)\n"


def _where(rows: Sequence[dict[str, Any]]) -> str:
    causes = list(dict.fromkeys(cause for row in rows for cause in row["stalls"]))
    lines = [[_named(row), row["class"], f"{row['compute_bound_cycles'] / row['cycles']:.1%}",
              f"{row['compute_bound_cycles'] / row['stalls']['BUSY']:.1%}",
              *(f"{row['stalls'].get(cause, 0) / row['cycles']:.1%}" for cause in causes)] for row in rows]
    return (_WHERE_TEXT
            + _table(("network", "board", "of the array", "unpadded", *causes), lines)
            + "\n" + _picture(FRAME, "passes, array and bus of a frame"))


def _long_sequences() -> str:
    header, *lines = cycles_against_tokens(lengths())
    text = (f"\n## Long sequences\n\n{NETWORK} on {CONFIG}, predicted. Crosses in the picture are frames of the RTL. "
            "If a sequence does not fit the\nmemories at once, it is cut into row ranges. Each of them fetches its "
            "weights again ([ADR 0014](adr/0014-batches-and-blocks-of-rows.md)).\n\n")
    return text + _picture(TOKENS, "cycles against tokens") + "\n" + _table(header, lines)


def document(rows: Sequence[dict[str, Any]]) -> str:
    """``docs/performance.md`` from the entries of ``bench.json``."""
    weights = "; ".join(dict.fromkeys(f"{row['network']}: {row['weights']}" for row in rows))
    return (_INTRODUCTION.format(weights=weights) + "\n" + _table(_HEADER, [_cells(row) for row in rows])
            + _beside_peers(rows) + _where(rows) + _long_sequences())


def readme_with(readme: str, rows: Sequence[dict[str, Any]]) -> str:
    """The README with a new table of frames. The table stands between two comments."""
    lines = [[_named(row), f"{row['class']} ({row['array']})", f"{row['cycles']:,}", f"{row['ms']:.2f}",
              f"{_bound(row)[0] / row['cycles']:.0%} ({_bound(row)[1]})",
              "all equal" if row["bit_exact"] else "different"] for row in rows]
    table = _table(("network", "board (array)", "cycles", "ms at the assumed clock", "of the bound",
                    "values against the integer model"), lines)
    return re.sub(f"(?s){re.escape(_BEGIN)}.*?{re.escape(_END)}", lambda _: f"{_BEGIN}\n\n{table}\n{_END}", readme)
