# SPDX-License-Identifier: Apache-2.0
"""Delays of cells and nets by family and speed grade, each with its source.

The figures are for UltraScale+ at speed grade -2 and for 7-series at -1. The other grades of UltraScale+ are these
times a factor. The data sheets have block RAM and DSP slices alone; what a LUT or a net takes is known from reports of
the vendor's tools.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["FACTORS", "FIGURES", "GRADES", "Figure", "delays"]


class Figure(NamedTuple):
    """Nanoseconds of UltraScale+ -2 and of 7-series -1, with their sources. ``scale``: key of `FACTORS`."""

    what: str
    ultrascale: float
    series7: float
    scale: str
    ultrascale_source: str
    series7_source: str


_XRAY = "Yosys' cells_sim.v, from Project X-Ray"
_REPORTS = "published Vivado reports of a -1 part, divided by 1.2"
_XRAY_DS187 = _XRAY + "; DS187"
_LUT = "as the largest LUT"
_GUESS = "assumption"
_HALF = "assumption: half of 7-series"
_DS925 = "assumption after DS925, not compared with the sheet"
_DSP = "7-series x 464/775, the slices' FMAX with all registers (DS181, DS925)"
_RAM = "assumption: as block RAM"

FIGURES: Mapping[str, Figure] = MappingProxyType({
    "lut_small": Figure("LUT of 1 or 2 inputs, inverter", 0.08, 0.127, "fabric", _REPORTS, _XRAY),
    "lut_medium": Figure("LUT of 3 or 4 inputs", 0.10, 0.15, "fabric", _REPORTS, _GUESS),
    "lut_large": Figure("LUT of 5 or 6 inputs", 0.125, 0.18, "fabric", _REPORTS, _GUESS),
    "mux": Figure("MUXF7, F8, F9: data", 0.07, 0.223, "fabric", _GUESS, _XRAY),
    "mux_select": Figure("MUXF7, F8, F9: select", 0.12, 0.296, "fabric", _GUESS, _XRAY),
    "carry_in": Figure("carry chain: from a LUT or a net into the chain", 0.20, 0.528, "fabric", _REPORTS, _XRAY),
    "carry_step": Figure("carry chain: through one CARRY4", 0.022, 0.114, "fabric", _REPORTS, _XRAY),
    "carry_out": Figure("carry chain: out to a sum bit", 0.10, 0.334, "fabric", _REPORTS, _XRAY),
    "carry_through": Figure("carry chain: past it, S to O of one bit", 0.10, 0.227, "fabric", _REPORTS, _XRAY),
    "net": Figure("net, general routing, fan-out 1", 0.28, 0.55, "fabric",
                  "assumption; routed nets of published reports take 0.18 to 0.38", _GUESS),
    "net_fanout": Figure("net, for each doubling of the fan-out", 0.055, 0.10, "fabric", _GUESS, _GUESS),
    "net_local": Figure("net inside a slice", 0.02, 0.03, "fabric", _REPORTS, _GUESS),
    "ff_out": Figure("flip-flop: clock to Q", 0.079, 0.456, "fabric", "published Vivado reports of a -2 part",
                     "assumption; Project X-Ray has 0.303"),
    "ff_data": Figure("flip-flop: set-up of D", 0.03, 0.08, "fabric", _GUESS, _GUESS),
    "ff_enable": Figure("flip-flop: set-up of CE", 0.06, 0.205, "fabric", _GUESS,
                        _GUESS + "; Project X-Ray has 0.109"),
    "ff_reset": Figure("flip-flop: set-up of R and S", 0.08, 0.404, "fabric", _GUESS, _XRAY),
    "lutram_out": Figure("LUT RAM: clock to output", 0.58, 1.153, "fabric", _HALF, _XRAY),
    "lutram_read": Figure("LUT RAM: address to output", 0.125, 0.18, "fabric", _LUT, _LUT),
    "lutram_data": Figure("LUT RAM: set-up of data", 0.23, 0.453, "fabric", _HALF, _XRAY),
    "lutram_address": Figure("LUT RAM: set-up of the write address", 0.18, 0.362, "fabric", _HALF, _XRAY),
    "lutram_enable": Figure("LUT RAM: set-up of write enable", 0.33, 0.654, "fabric", _HALF, _XRAY),
    "srl_out": Figure("SRL: clock to output", 0.74, 1.472, "fabric", _HALF, _XRAY),
    "srl_data": Figure("SRL: set-up of data", 0.09, 0.173, "fabric", _HALF, _XRAY),
    "bram_out": Figure("block RAM: clock to output, no output register", 1.02, 2.454, "bram", _DS925, _XRAY_DS187),
    "bram_out_registered": Figure("block RAM: clock to output, output register", 0.29, 0.882, "bram", _DS925,
                                  _XRAY_DS187),
    "bram_address": Figure("block RAM: set-up of addresses", 0.28, 0.566, "bram", _HALF, _XRAY_DS187),
    "bram_data": Figure("block RAM: set-up of data", 0.37, 0.737, "bram", _HALF, _XRAY_DS187),
    "bram_enable": Figure("block RAM: set-up of enables and resets", 0.27, 0.532, "bram", _HALF, _XRAY),
    "uram_out": Figure("UltraRAM: clock to output, no output register", 1.40, 0.0, "bram", _GUESS, "no such cell"),
    "uram_out_registered": Figure("UltraRAM: clock to output, output register", 0.45, 0.0, "bram", _GUESS,
                                  "no such cell"),
    "uram_in": Figure("UltraRAM: set-up of every input", 0.40, 0.0, "bram", _RAM, "no such cell"),
    "dsp_in": Figure("DSP slice: a pin into an A, B, C or D register", 0.15, 0.254, "dsp", _DSP, _XRAY),
    "dsp_preadd": Figure("DSP slice: pre-adder", 0.59, 0.984, "dsp", _DSP, _XRAY),
    "dsp_multiply": Figure("DSP slice: multiplier", 0.70, 1.162, "dsp", _DSP, _XRAY),
    "dsp_add": Figure("DSP slice: adder", 0.79, 1.323, "dsp", _DSP, _XRAY),
    "dsp_cascade": Figure("DSP slice: PCIN to the P register", 0.61, 1.025, "dsp", _DSP, _XRAY),
    "dsp_out": Figure("DSP slice: a register to P or PCOUT", 0.26, 0.435, "dsp", _DSP, _XRAY),
    "dsp_control": Figure("DSP slice: set-up of enables and resets", 0.24, 0.40, "dsp", _DSP, _GUESS),
})

#: Factors of the grades of UltraScale+ relative to -2, and where they come from.
FACTORS: Mapping[str, tuple[Mapping[str, float], str]] = MappingProxyType({
    "fabric": ({"-2": 1.0, "-1": 1.2, "-2LV": 1.3},
               "-1: clock to Q of 0.096 against 0.079 ns in published Vivado reports; -2LV: assumption, between its "
               "factors for DSP slices and block RAM"),
    "bram": ({"-2": 1.0, "-1": 1.09, "-2LV": 1.43},
             "assumption after DS925 (1.02, 1.11, 1.46 ns without output register), not compared with it"),
    "dsp": ({"-2": 1.0, "-1": 1.2, "-2LV": 1.2}, "DS925: FMAX of 775, 645 and 644 MHz with all registers"),
})
#: Speed grades by name: those of UltraScale+, and the one of 7-series.
GRADES = ("UltraScale+ -2", "UltraScale+ -1", "UltraScale+ -2LV", "7-series -1")


def delays(grade: str) -> dict[str, float]:
    """Nanoseconds by figure. Raises KeyError for a grade that is not of `GRADES`."""
    if grade not in GRADES:
        raise KeyError(f"no speed grade is called {grade!r}; there are {', '.join(GRADES)}")
    family, speed = grade.split(" ")
    if family == "7-series":
        return {name: figure.series7 for name, figure in FIGURES.items()}
    return {name: figure.ultrascale * FACTORS[figure.scale][0][speed] for name, figure in FIGURES.items()}
