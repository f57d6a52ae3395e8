# SPDX-License-Identifier: Apache-2.0
"""Sends the bus beats that belong to one port, part by part, with their addresses; collects the responses."""

from amaranth import *
from amaranth.lib import data, stream
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from .axi import RESP_SLVERR, WriteChannels
from .bursts import BURST_BEATS

__all__ = ["ScatterPort"]


class ScatterPort(Component):
    """Sends each bus beat as ``ports`` transfers of one port; shows addresses; collects responses.

    Holds two stripes, so that it sends one while the other ports have their turns. W waits for no AW. BREADY is
    constantly 1, since there is room for the responses of ``outstanding`` stripes.

    AW shows the address of a stripe when all of the stripe's data have come. So a slave that takes an address can have
    all of its data, whatever the other ports do. There is always room for the rest of a stripe: the addresses of all
    stripes before it were taken.

    A response that comes before the last transfer of its stripe was taken becomes SLVERR. A response to no stripe is
    ignored.

    Latency: 2 cycles from ``i`` to W (`latency`), 2 cycles from a stripe's last bus beat to AW (`latency_address`),
    2 cycles from B to ``answer`` (`latency_answer`).
    Throughput: one transfer of the port per cycle.
    Back-pressure: ``i`` waits while two stripes are held, ``address`` while another one waits for AW; B never waits.

    Parameters
    ----------
    bus_bytes : int
        bytes of a bus beat
    ports : int
        ports that share the bus
    outstanding : int
        bursts under way at most

    Members
    -------
    address : In(stream.Signature(address_layout()))
        addresses of the stripes, one ahead of AW
    i : In(stream.Signature({"data": 8 x bus_bytes, "strb": bus_bytes, "last": 1}))
        bus beats; ``last`` is that of the stripe, whose address is taken or on ``address``
    aw : Out(stream.Signature(address_layout()))
        the port's AW
    w : Out(stream.Signature({"data": 8 x bus_bytes / ports, "strb": bus_bytes / ports, "last": 1}))
        the port's W
    b : In(stream.Signature({"resp": 2}))
        the port's B
    answer : Out(stream.Signature(2))
        responses, in order
    idle : Out(1)
        nothing is under way
    """

    latency = 2
    latency_address = 2
    latency_answer = 2

    def __init__(self, bus_bytes: int, ports: int, outstanding: int):
        self._ports, self._outstanding = ports, outstanding
        narrow, wide = WriteChannels(bus_bytes // ports).members, WriteChannels(bus_bytes).members
        super().__init__({
            "address": In(narrow["aw"].signature),
            "i": In(wide["w"].signature),
            "aw": Out(narrow["aw"].signature),
            "w": Out(narrow["w"].signature),
            "b": In(narrow["b"].signature.flip()),
            "answer": Out(stream.Signature(2)),
            "idle": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.beats = beats = SyncFIFO(width=self.i.payload.shape().size, depth=2 * BURST_BEATS // self._ports)
        has_address, begun = Signal(), Signal()
        self._show_addresses(m, has_address, begun)
        self._send(m, beats)
        unanswered = self._collect(m, begun)
        m.d.comb += self.idle.eq((unanswered == 0) & ~beats.r_rdy & ~self.w.valid & ~has_address)
        return m

    def _show_addresses(self, m: Module, has_address: Signal, begun: Signal) -> None:
        """AW, when all of the stripe has come."""
        aw = self.aw
        complete = Signal(2)  # stripes whose last bus beat came, and whose address was not taken
        came, addressed = Signal(), Signal()
        m.d.comb += [
            self.address.ready.eq(~has_address),
            begun.eq(self.address.valid & self.address.ready),
            aw.valid.eq(has_address & (complete != 0)),
            addressed.eq(aw.valid & aw.ready),
        ]
        m.d.sync += [
            came.eq(self.i.valid & self.i.ready & self.i.payload.last),
            complete.eq(complete + came - addressed),
        ]
        with m.If(begun):
            m.d.sync += [has_address.eq(1), aw.payload.eq(self.address.payload)]
        with m.Elif(addressed):
            m.d.sync += has_address.eq(0)

    def _send(self, m: Module, beats: SyncFIFO) -> None:
        """W, part by part."""
        w = self.w
        part = Signal(exact_log2(self._ports))
        beat = data.View(self.i.payload.shape(), beats.r_data)
        load = Signal()
        m.d.comb += [
            beats.w_en.eq(self.i.valid),
            beats.w_data.eq(self.i.payload),
            self.i.ready.eq(beats.w_rdy),
            load.eq(beats.r_rdy & (~w.valid | w.ready)),
            beats.r_en.eq(load & part.all()),
        ]
        with m.If(load):
            m.d.sync += [
                w.valid.eq(1),
                w.payload.data.eq(beat.data.word_select(part, len(w.payload.data))),
                w.payload.strb.eq(beat.strb.word_select(part, len(w.payload.strb))),
                w.payload.last.eq(beat.last & part.all()),
                part.eq(part + 1),
            ]
        with m.Elif(w.ready):
            m.d.sync += w.valid.eq(0)

    def _collect(self, m: Module, begun: Value) -> Signal:
        """B. Returns the number of stripes without a response."""
        m.submodules.answers = answers = SyncFIFO(width=2, depth=self._outstanding)
        # Stage 1: take the response.
        arrived, response = Signal(), Signal(2)
        m.d.comb += self.b.ready.eq(1)
        m.d.sync += [arrived.eq(self.b.valid), response.eq(self.b.payload.resp)]

        # Stage 2: judge it.
        expected = Signal()
        unanswered, sent = (Signal(range(self._outstanding + 1), name=name) for name in ("unanswered", "sent"))
        m.d.comb += [
            expected.eq(arrived & (unanswered != 0)),
            answers.w_en.eq(expected),
            answers.w_data.eq(response | Mux(sent == 0, RESP_SLVERR, 0)),
            self.answer.valid.eq(answers.r_rdy),
            self.answer.payload.eq(answers.r_data),
            answers.r_en.eq(self.answer.ready),
        ]
        m.d.sync += unanswered.eq(unanswered + begun - expected)
        finished = self.w.valid & self.w.ready & self.w.payload.last
        m.d.sync += sent.eq(Mux(self.idle, 0, sent + finished - (expected & (sent != 0))))
        return unanswered
