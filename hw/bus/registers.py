# SPDX-License-Identifier: Apache-2.0
"""The AXI4-Lite register file, made from ``spec.registers``."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from moevit.spec.arrays import MachineConfig
from moevit.spec.registers import APERTURE, BITS, MAGIC, PASS_LOG, PASS_LOG_ENTRIES, REGISTERS, VERSION, Register

from ..interfaces import MemoryRead
from .axi import LiteChannels

__all__ = ["Registers", "settings_layout", "status_layout"]

_OWN = ("CONTROL", "INTERRUPT_GLOBAL", "INTERRUPT_ENABLE", "INTERRUPT_STATUS")
_CONSTANTS = ("MAGIC", "VERSION", "CONFIG_HASH", "SHAPE", "TOKENS")
_GROUP = 16  # words that the first stage of a read chooses from
_PART = {"LOW": 0, "HIGH": 32}


def _place(register: Register) -> tuple[str, int]:
    """Field and first bit of a register: NAME_LOW and NAME_HIGH are halves of a 64-bit field."""
    name, _, part = register.name.rpartition("_")
    return (name.lower(), _PART[part]) if part in _PART else (register.name.lower(), 0)


def _layout(access: str) -> data.StructLayout:
    fields: dict[str, int] = {}
    for register in REGISTERS:
        if register.access == access and register.name not in _OWN + _CONSTANTS:
            name, bit = _place(register)
            fields[name] = bit + 32
    return data.StructLayout(fields)


def settings_layout() -> data.StructLayout:
    """The host's settings of a run: the rw registers in lower case, halves joined to 64 bits."""
    return _layout("rw")


def status_layout() -> data.StructLayout:
    """Values that the hardware shows: the r registers in lower case, halves joined to 64 bits; counters among them."""
    return _layout("r")


class Registers(Component):
    """The registers of ``spec.registers`` behind an AXI4-Lite slave with 32-bit data.

    Every access is answered OKAY. A word of the aperture that has no register reads 0 and ignores writes, and the low
    two address bits are ignored. AW and W come in any order; write strobes are honoured byte by byte. Reads have no
    side effects: a 64-bit value is two reads, which agree once the machine is idle.

    START is ignored while the machine is not idle, and when it comes with RESET. While the machine is not idle,
    ``settings`` are locked: writes to them are ignored. RESET is passed on at any time. DONE, ERROR and RESET_DONE stay
    until the next START or RESET; neither command touches settings or interrupts.

    INTERRUPT_STATUS is set by ``done`` and ``error`` whether enabled or not; a 1 written clears the bit, unless a new
    event comes in the same cycle. The interrupt is a level: global enable and any bit both enabled and set.

    Latency: 4 cycles from AR to R (`latency`), 2 cycles from AW and W to B and to a changed setting
    (`latency_write`).
    Throughput: one write per 2 cycles, one read per 5.
    Back-pressure: AR waits while a read is under way, AW and W while one of theirs is; B and R wait for ready.

    Parameters
    ----------
    config : MachineConfig
        values of the constant registers

    Members
    -------
    bus : In(LiteChannels(14, 32))
        AXI4-Lite, an aperture of APERTURE bytes
    settings : Out(settings_layout())
        the host's registers
    status : In(status_layout())
        values to show
    log : Out(MemoryRead(PASS_LOG_ENTRIES, 64))
        an entry of the pass log: end of the instruction, and what it was, 32 bits each
    idle : In(1)
        no run and no reset is under way; low from the cycle after ``start`` or ``reset`` until then
    done, error : In(1)
        a run ended, or stopped; one pulse
    reset_done : In(1)
        the machine is as after power-up; one pulse, not before the cycle after ``reset``
    start, reset : Out(1)
        the commands, one pulse
    interrupt : Out(1)
        the interrupt output
    """

    latency = 4
    latency_write = 2

    def __init__(self, config: MachineConfig):
        self._constants = {
            "MAGIC": MAGIC,
            "VERSION": VERSION,
            "CONFIG_HASH": config.hash,
            "SHAPE": config.k_lanes | config.n_lanes << 8 | config.max_experts << 16,
            "TOKENS": config.max_tokens,
        }
        super().__init__({
            "bus": In(LiteChannels(exact_log2(APERTURE), 32)),
            "settings": Out(settings_layout()),
            "status": In(status_layout()),
            "log": Out(MemoryRead(PASS_LOG_ENTRIES, 64)),
            "idle": In(1),
            "done": In(1),
            "error": In(1),
            "reset_done": In(1),
            "start": Out(1),
            "reset": Out(1),
            "interrupt": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        word = Signal(32)  # of the write under way
        strobes = Signal(4)
        select = {register.name: Signal(name=f"write_{register.name.lower()}") for register in REGISTERS}
        self._write_channels(m, word, strobes, select)
        values = {name: C(value, 32) for name, value in self._constants.items()}
        values |= self._settings_and_status(m, word, strobes, select)
        values |= self._commands(m, Mux(select["CONTROL"] & strobes[0], word[:8], 0))
        values |= self._interrupts(m, word, strobes, select)
        self._read_channels(m, values)
        return m

    def _settings_and_status(self, m: Module, word: Value, strobes: Value,
                             select: dict[str, Signal]) -> dict[str, Value]:
        """The registers that are fields of ``settings`` and ``status``."""
        def written(old: Value) -> Value:
            return Cat(Mux(strobes[i], word[8 * i:8 * i + 8], old[8 * i:8 * i + 8]) for i in range(len(old) // 8))

        values = {}
        for register in REGISTERS:
            if register.name in self._constants or register.name in _OWN:
                continue
            name, bit = _place(register)
            field = getattr(self.settings if register.access == "rw" else self.status, name)
            values[register.name] = field[bit:bit + 32]
            if register.access == "rw":
                with m.If(select[register.name] & self.idle):
                    m.d.sync += field[bit:bit + 32].eq(written(field[bit:bit + 32]))
        return values

    def _commands(self, m: Module, written: Value) -> dict[str, Value]:
        """CONTROL: the commands, and what became of them."""
        done, error, reset_done = Signal(), Signal(), Signal()
        command, control = Signal(8), Signal(32)
        m.d.comb += command.eq(written)
        m.d.sync += self.reset.eq(command[BITS["RESET"]])
        m.d.sync += self.start.eq(command[BITS["START"]] & ~command[BITS["RESET"]] & self.idle)
        with m.If(self.start | self.reset):
            m.d.sync += [done.eq(0), error.eq(0), reset_done.eq(0)]
        with m.Else():
            m.d.sync += [
                done.eq(done | self.done),
                error.eq(error | self.error),
                reset_done.eq(reset_done | self.reset_done),
            ]
        for name, value in (("DONE", done), ("IDLE", self.idle), ("READY", self.idle), ("ERROR", error),
                            ("RESET_DONE", reset_done), ("INTERRUPT", self.interrupt)):
            m.d.comb += control[BITS[name]].eq(value)
        return {"CONTROL": control}

    def _interrupts(self, m: Module, word: Value, strobes: Value, select: dict[str, Signal]) -> dict[str, Value]:
        enabled = Signal()
        enable, pending, clear = Signal(2), Signal(2), Signal(2)
        events = Cat(self.done, self.error)
        m.d.comb += clear.eq(Mux(select["INTERRUPT_STATUS"] & strobes[0], word[:2], 0))
        m.d.sync += pending.eq(pending & ~clear | events)
        with m.If(select["INTERRUPT_GLOBAL"] & strobes[0]):
            m.d.sync += enabled.eq(word[0])
        with m.If(select["INTERRUPT_ENABLE"] & strobes[0]):
            m.d.sync += enable.eq(word[:2])
        m.d.sync += self.interrupt.eq(enabled & (enable & pending).any())
        return {"INTERRUPT_GLOBAL": enabled, "INTERRUPT_ENABLE": enable, "INTERRUPT_STATUS": pending}

    def _write_channels(self, m: Module, word: Signal, strobes: Signal, select: dict[str, Signal]) -> None:
        """AW and W into registers; one cycle of ``select`` when both have come; B."""
        aw, w, b = self.bus.aw, self.bus.w, self.bus.b
        has_address, has_data, commit = Signal(), Signal(), Signal()
        address = Signal.like(aw.payload.addr)
        m.d.comb += [
            aw.ready.eq(~has_address),
            w.ready.eq(~has_data),
            commit.eq(has_address & has_data & (~b.valid | b.ready)),
        ]
        with m.If(commit):
            m.d.sync += [has_address.eq(0), has_data.eq(0)]
        with m.If(aw.valid & aw.ready):
            m.d.sync += [has_address.eq(1), address.eq(aw.payload.addr)]
        with m.If(w.valid & w.ready):
            m.d.sync += [has_data.eq(1), word.eq(w.payload.data), strobes.eq(w.payload.strb)]
        with m.If(commit):
            m.d.sync += b.valid.eq(1)
        with m.Elif(b.ready):
            m.d.sync += b.valid.eq(0)
        for register in REGISTERS:
            m.d.comb += select[register.name].eq(commit & (address[2:] == register.offset >> 2))

    def _read_channels(self, m: Module, values: dict[str, Value]) -> None:
        """AR; R `latency` cycles later."""
        ar, r = self.bus.ar, self.bus.r
        address = Signal.like(ar.payload.addr)
        chosen, fetched, answer = Signal(), Signal(), Signal()  # stages under way
        m.d.comb += ar.ready.eq(~chosen & ~fetched & ~answer & ~r.valid)
        m.d.sync += [chosen.eq(ar.valid & ar.ready), fetched.eq(chosen), answer.eq(fetched)]
        with m.If(ar.valid & ar.ready):
            m.d.sync += address.eq(ar.payload.addr)

        # Stage 1: choose a word in each group; read the log.
        words = {register.offset >> 2: values[register.name] for register in REGISTERS}
        groups = {}
        for group in sorted({at // _GROUP for at in words}):
            groups[group] = value = Signal(32, name=f"group_{group}")
            with m.Switch(address[2:2 + exact_log2(_GROUP)]):
                for at in range(_GROUP):
                    if group * _GROUP + at in words:
                        with m.Case(at):
                            m.d.sync += value.eq(words[group * _GROUP + at])
                with m.Default():
                    m.d.sync += value.eq(0)
        m.d.comb += self.log.enable.eq(chosen)
        m.d.comb += self.log.address.eq(address[3:3 + exact_log2(PASS_LOG_ENTRIES)])

        # Stage 2: choose the half of the log's entry, in a stage of its own: a memory takes most of a cycle.
        logged = Signal(32, reset_less=True)
        m.d.sync += logged.eq(Value.cast(self.log.data).word_select(address[2], 32))

        # Stage 3: choose the group.
        with m.If(answer):
            m.d.sync += r.valid.eq(1)
            with m.If(address[exact_log2(PASS_LOG)]):
                m.d.sync += r.payload.data.eq(logged)
            with m.Else():
                with m.Switch(address[2 + exact_log2(_GROUP):exact_log2(PASS_LOG)]):
                    for group, value in groups.items():
                        with m.Case(group):
                            m.d.sync += r.payload.data.eq(value)
                    with m.Default():
                        m.d.sync += r.payload.data.eq(0)
        with m.Elif(r.ready):
            m.d.sync += r.valid.eq(0)
