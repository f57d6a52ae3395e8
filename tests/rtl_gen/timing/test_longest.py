# SPDX-License-Identifier: Apache-2.0
"""Longest paths of netlists made by hand, against sums of the table's delays."""

import math

import pytest

from moevit.rtl_gen.timing.classes import CLASSES
from moevit.rtl_gen.timing.delays import FIGURES, GRADES, delays
from moevit.rtl_gen.timing.graph import PORT, graph_of
from moevit.rtl_gen.timing.longest import longest_paths
from moevit.rtl_gen.timing.measure import measure
from moevit.rtl_gen.timing.netlist import Cell, Netlist
from moevit.rtl_gen.yosys import SynthesisError

D = delays("UltraScale+ -2")


def cell(kind, name="", parameters=(), **pins):
    """Outputs of all kinds of cells in these tests are Q, O, CO, P and DO...; a number is a net, a list several."""
    nets = {pin: value if isinstance(value, list) else [value] for pin, value in pins.items()}
    outputs = frozenset(pin for pin in nets if pin in ("Q", "O", "CO", "P", "PCOUT", "SPO") or pin.startswith("DO"))
    return Cell(name or f"{kind}_{next(iter(pins.values()))}", kind, tuple(sorted(parameters)), nets, outputs)


def register(q, d, name=""):
    return cell("FDRE", name or f"r{q}", Q=q, D=d, CE=None, R=None, C=1)


def lut(o, *inputs):
    return cell(f"LUT{len(inputs)}", f"lut{o}", O=o, **{f"I{index}": net for index, net in enumerate(inputs)})


def longest(*cells, inputs=None, outputs=None, from_ports=False, grade="UltraScale+ -2"):
    """The longest of all paths."""
    netlist = Netlist(list(cells), inputs or {}, outputs or {})
    paths = longest_paths(graph_of(netlist, delays(grade)), from_ports=from_ports)
    return max(paths, key=lambda path: path.ns)


def test_register_to_register():
    path = longest(register(2, None), register(3, 2))
    assert path.ns == pytest.approx(D["ff_out"] + D["net"] + D["ff_data"])
    assert (path.levels, path.net_ns) == (0, pytest.approx(D["net"]))


def test_chain_of_luts():
    """Three LUTs of one, three and six inputs; the last one's net to its flip-flop stays in the slice."""
    path = longest(register(2, None), lut(10, 2), lut(11, 10, None, None), lut(12, 11, None, None, None, None, None),
                   register(3, 12))
    nets = 3 * D["net"] + D["net_local"]
    cells = D["lut_small"] + D["lut_medium"] + D["lut_large"]
    assert path.ns == pytest.approx(D["ff_out"] + cells + nets + D["ff_data"])
    assert path.net_ns == pytest.approx(nets)
    assert (path.levels, path.most_levels, len(path.edges)) == (3, 3, 3)


def test_the_longer_of_two_ways_and_the_way_of_most_levels():
    """A block RAM behind no LUT is later than a flip-flop behind two."""
    ram = cell("RAMB36E2", "ram", DOUTADOUT=[20], CLKARDCLK=1)
    path = longest(ram, register(2, None), lut(10, 2), lut(11, 10), lut(12, 11, 20), register(3, 12))
    assert path.begin.cell == 0
    assert (path.levels, path.most_levels) == (1, 3)
    assert path.ns == pytest.approx(D["bram_out"] + D["net"] + D["lut_small"] + D["net_local"] + D["ff_data"])


@pytest.mark.parametrize("fanout", [1, 2, 8, 1000])
def test_fan_out(fanout):
    path = longest(register(2, None), *(register(10 + index, 2) for index in range(fanout)))
    assert path.net_ns == pytest.approx(D["net"] + D["net_fanout"] * math.log2(fanout))


def carry(number, carry_in, select, sums):
    return cell("CARRY4", f"c{number}", CI=carry_in, CYINIT=None, DI=[None] * 4, S=select,
                CO=[100 * number + bit for bit in range(4)], O=sums)


def test_chain_of_carries():
    """Into the lowest bit of three CARRY4, out at the top: three quarters of the first, all of the second, none of the
    third's steps but its sum at bit 3 comes from the carry below."""
    chain = [carry(1, None, [10, None, None, None], [None] * 4), carry(2, 103, [None] * 4, [None] * 4),
             carry(3, 203, [None] * 4, [None, None, None, 30])]
    path = longest(register(2, None), lut(10, 2), *chain, register(3, 30))
    steps = (3 + 4 + 3) / 4 * D["carry_step"]
    ns = D["ff_out"] + D["net"] + D["lut_small"] + D["carry_in"] + steps + D["carry_out"] + D["ff_data"]
    local = 4 * D["net_local"]  # LUT to carry, twice carry to carry, carry to flip-flop
    assert path.ns == pytest.approx(ns + local)
    assert path.levels == 1


def test_a_carry_does_not_run_down():
    """From the select of bit 2 no path leads to the sum of bit 1."""
    paths = longest_paths(graph_of(Netlist([register(2, None), carry(1, None, [None, None, 2, None],
                                                                     [None, 31, None, None]), register(3, 31)], {}, {}),
                                   D), from_ports=False)
    assert paths == []


@pytest.mark.parametrize("registered", ["0", "1"])
def test_block_ram_to_flip_flop(registered):
    ram = cell("RAMB36E2", "ram", [("DOA_REG", registered)], DOUTADOUT=[20], DOUTBDOUT=[None], CLKARDCLK=1)
    path = longest(ram, register(3, 20))
    out = D["bram_out_registered"] if registered == "1" else D["bram_out"]
    assert path.ns == pytest.approx(out + D["net"] + D["ff_data"])


def test_into_block_ram():
    ram = cell("RAMB18E1", "ram", ADDRARDADDR=[2], WEA=[3], DIADI=[None], DOADO=[None], CLKARDCLK=1)
    setups = {path.end.pin: path.end.setup_ns
              for path in longest_paths(graph_of(Netlist([register(2, None), register(3, None), ram], {}, {}), D),
                                        from_ports=False)}
    assert setups == {"ADDRARDADDR": D["bram_address"], "WEA": D["bram_enable"]}


def dsp(**registers):
    return cell("DSP48E2", "dsp", [*registers.items(), ("USE_MULT", "MULTIPLY")], A=[2], B=[None], C=[None], P=[20])


def test_dsp_slice_without_registers_is_a_path_through():
    path = longest(register(2, None), dsp(AREG="0", MREG="0", PREG="0"), register(3, 20))
    inside = D["dsp_in"] + D["dsp_multiply"] + D["dsp_add"]
    assert path.ns == pytest.approx(D["ff_out"] + D["net"] + inside + D["net"] + D["ff_data"])


@pytest.mark.parametrize("registers, inwards, outwards", [
    ({"AREG": "1", "MREG": "1", "PREG": "1"}, "dsp_in", ""),
    ({"AREG": "0", "MREG": "1", "PREG": "0"}, "dsp_in dsp_multiply", "dsp_add"),
    ({"AREG": "0", "MREG": "0", "PREG": "1"}, "dsp_in dsp_multiply dsp_add", ""),
    ({"AREG": "1", "MREG": "0", "PREG": "0"}, "dsp_in", "dsp_multiply dsp_add"),
    ({"ADREG": "1", "MREG": "0", "PREG": "1", "USE_DPORT": "TRUE"}, "dsp_in dsp_preadd", "")])
def test_dsp_slice_with_registers(registers, inwards, outwards):
    """Paths end at the first register and begin at the last."""
    into = longest(register(2, None), dsp(**registers))
    assert into.ns == pytest.approx(D["ff_out"] + D["net"] + sum(D[each] for each in inwards.split()))
    out = longest(dsp(**registers), register(3, 20))
    assert out.ns == pytest.approx(D["dsp_out"] + sum(D[each] for each in outwards.split()) + D["net"] + D["ff_data"])


def test_pin_c_of_a_dsp_slice_is_an_operand_and_no_clock():
    adder = cell("DSP48E1", "dsp", [("CREG", "0"), ("PREG", "1")], C=[2], P=[20], CLK=1)
    path = longest(register(2, None), adder, grade="UltraScale+ -2")
    assert path.ns == pytest.approx(D["ff_out"] + D["net"] + D["dsp_in"] + D["dsp_add"])


def test_cascade_of_dsp_slices_stays_on_its_wire():
    first = cell("DSP48E2", "a", [("PREG", "1")], A=[None], PCOUT=[20])
    second = cell("DSP48E2", "b", [("PREG", "1")], PCIN=[20], P=[21])
    path = longest(first, second)
    assert path.ns == pytest.approx(D["dsp_out"] + D["net_local"] + D["dsp_cascade"])


def test_lut_ram_is_read_without_a_clock():
    ram = cell("RAM32M16", "ram", ADDRA=[2], ADDRH=[None], DOA=[20], DIA=[None], WE=[None], WCLK=1)
    path = longest(register(2, None), ram, register(3, 20))
    assert path.ns == pytest.approx(max(D["lutram_out"], D["ff_out"] + D["net"] + D["lutram_read"]) + D["net"]
                                    + D["ff_data"])


def test_a_loop_is_refused():
    with pytest.raises(SynthesisError, match="combinational loop: 2 nets wait for each other, behind lut10, lut11"):
        longest(register(2, None), lut(10, 2, 11), lut(11, 10), register(3, 11))


def test_an_unknown_cell_is_refused():
    with pytest.raises(SynthesisError, match="cell odd is a LDCE: say in timing/cells.py"):
        longest(cell("LDCE", "odd", Q=2, D=3))


def test_an_unknown_input_is_refused():
    with pytest.raises(SynthesisError, match="cell odd, a RAMB36E2, has inputs TURBO: say in timing/cells.py"):
        longest(register(2, None), cell("RAMB36E2", "odd", DOUTADOUT=[3], TURBO=[2]))


def test_ports_are_counted_apart():
    netlist = Netlist([register(2, 10), lut(10, 5), lut(11, 2), register(3, 2)], {"i": [5]}, {"o": [11]})
    kind = CLASSES[0]
    found, d = measure(netlist, kind), delays(kind.grade)
    fanout_2 = d["net"] + d["net_fanout"]
    assert found["ends"] == 1 and found["ports"]["ends"] == 2
    assert found["worst_ns"] == pytest.approx(d["ff_out"] + fanout_2 + d["ff_data"], abs=1e-3)
    to_port = d["ff_out"] + fanout_2 + d["lut_small"] + d["net"] + d["ff_data"]
    assert found["ports"]["worst_ns"] == pytest.approx(to_port, abs=1e-3)
    from_port = longest(*netlist.cells, inputs=netlist.inputs, from_ports=True)
    assert from_port.begin.cell == PORT and from_port.begin.pin == "i"


@pytest.mark.parametrize("fast, slow", [("UltraScale+ -2", "UltraScale+ -1"), ("UltraScale+ -1", "7-series -1"),
                                        ("UltraScale+ -2", "UltraScale+ -2LV"), ("UltraScale+ -2LV", "7-series -1")])
def test_a_slower_grade_is_never_faster(fast, slow):
    quick, late = delays(fast), delays(slow)
    cells_of_both = [name for name in FIGURES if not (slow == "7-series -1" and name.startswith("uram"))]
    assert all(quick[name] <= late[name] for name in cells_of_both)
    cells = [register(2, None), lut(10, 2, None, None), carry(1, None, [10, None, None, None], [None] * 3 + [30]),
             register(3, 30)]
    assert longest(*cells, grade=fast).ns < longest(*cells, grade=slow).ns


def test_grades():
    assert {kind.grade for kind in CLASSES} == set(GRADES)
    with pytest.raises(KeyError, match="no speed grade is called '-5'"):
        delays("-5")
