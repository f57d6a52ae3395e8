# SPDX-License-Identifier: Apache-2.0
"""What one narrow port writes: addresses, beats of the wide bus, part by part, and the responses to them."""

from amaranth import *
from amaranth.lib import data, stream
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from .axi import RESP_SLVERR, WriteChannels
from .bursts import BURST_BEATS

__all__ = ["ScatterPort"]


class ScatterPort(Component):
    """Sends each beat of the wide bus as ``ports`` beats of the port; shows addresses; collects B.

    Holds two bursts of the port, so that it sends one while the other ports' turns come and go. Two cycles from ``i``
    to W, one beat of the port a cycle; W waits for no AW. BREADY is constantly 1, since there is room for the responses
    of ``outstanding`` bursts; two cycles from B to ``answer``.

    Two cycles from a burst's last beat on ``i`` to AW: whoever takes an address can have all of its data, whatever the
    other ports do. There is always room for the rest of the burst whose address waits, since the addresses of all that
    came before it were taken.

    A response that comes before the last beat of its burst was taken becomes SLVERR; one to no burst is ignored.

    Parameters
    ----------
    bus_bytes : bytes per beat of the wide bus
    ports : narrow ports that share it
    outstanding : bursts under way at most

    Members
    -------
    address : stream of the bursts' addresses, one ahead of AW
    i : stream of {data, strb, last}, ``last`` of the port's burst; its address is taken or on ``address``
    aw, w, b : the port's AW, W and B
    answer : stream of responses, in order
    idle : nothing is under way
    """

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
        aw, w, wide = self.aw, self.w, self.i.payload.shape()
        m.submodules.beats = beats = SyncFIFO(width=wide.size, depth=2 * BURST_BEATS // self._ports)
        m.submodules.answers = answers = SyncFIFO(width=2, depth=self._outstanding)

        # AW, when all of the burst has come.
        waiting = Signal()  # there is an address
        whole = Signal(2)  # bursts that came with their last beat, and whose address was not taken
        begun, came, addressed = Signal(), Signal(), Signal()
        m.d.comb += [
            self.address.ready.eq(~waiting),
            begun.eq(self.address.valid & self.address.ready),
            aw.valid.eq(waiting & (whole != 0)),
            addressed.eq(aw.valid & aw.ready),
        ]
        m.d.sync += [came.eq(self.i.valid & self.i.ready & self.i.payload.last), whole.eq(whole + came - addressed)]
        with m.If(begun):
            m.d.sync += [waiting.eq(1), aw.payload.eq(self.address.payload)]
        with m.Elif(addressed):
            m.d.sync += waiting.eq(0)

        # W, part by part.
        part = Signal(exact_log2(self._ports))
        beat = data.View(wide, beats.r_data)
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

        # B. Stage 1: take the response. Stage 2: judge it.
        arrived, response = Signal(), Signal(2)
        expected = Signal()
        open_, sent = (Signal(range(self._outstanding + 1), name=name) for name in ("open", "sent"))
        m.d.comb += self.b.ready.eq(1)
        m.d.sync += [arrived.eq(self.b.valid), response.eq(self.b.payload.resp)]
        m.d.comb += [
            expected.eq(arrived & (open_ != 0)),
            answers.w_en.eq(expected),
            answers.w_data.eq(response | Mux(sent == 0, RESP_SLVERR, 0)),
            self.answer.valid.eq(answers.r_rdy),
            self.answer.payload.eq(answers.r_data),
            answers.r_en.eq(self.answer.ready),
            self.idle.eq((open_ == 0) & ~beats.r_rdy & ~w.valid & ~waiting),
        ]
        m.d.sync += open_.eq(open_ + begun - expected)
        finished = w.valid & w.ready & w.payload.last
        m.d.sync += sent.eq(Mux(self.idle, 0, sent + finished - (expected & (sent != 0))))
        return m
