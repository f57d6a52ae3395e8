# SPDX-License-Identifier: Apache-2.0
"""The router: from gate logits to one queue of tokens per expert."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import ROW_BITS, SCORE_FRACTION
from moevit.spec.trace import TraceKind

from ..interfaces import (
    EXPERT_BITS,
    SEQUENCE_BITS,
    TOKEN_BITS,
    Flow,
    MemoryRead,
    logits_layout,
    queue_entry_layout,
    trace_layout,
)
from ..plumbing.timeline import Timeline
from .candidates import Candidates
from .queues import Queues
from .softmax import GateSoftmax
from .winners import Winners

__all__ = ["Router"]


class Router(wiring.Component):
    """Top k, scores, queues: each token's best experts and scores, by expert.

    Golden: ``golden.integer.router``. A token every top_k cycles; `LATENCY` cycles from a token's logits to its first
    entry. A sigmoid or a selection bias costs a token `WALK` cycles more, in which no other is taken. The first token
    of a pass waits until the pass before it is done, and max_experts cycles longer.

    Members
    -------
    logits : In(stream), tokens 0, 1, ... of a pass; ``experts`` and how to choose the same for all of them,
        1 <= top_k <= experts <= max_experts; ``sets_bias`` with the only token of a pass, which is not routed
    queue : In(MemoryRead), entry i of an expert at expert x max_tokens + i
    lengths : Out, entries per expert; they count up from a pass's first entry on and are steady after ``done``
    done : Out(1), pulse: the last token is routed, queues and lengths are complete from the next cycle on; or the
        biases are set
    sequence : In(16), number of the instruction of ``logits``, for the trace
    trace : Out(Flow), a record per entry, then the lengths of all queues (never valid unless the configuration traces)
    """

    def __init__(self, config: MachineConfig):
        self._config, self._candidates = config, Candidates(config)
        self._softmax = softmax = GateSoftmax(config)
        self._winners = Winners(config, softmax.inverse_latency - softmax.latency)
        super().__init__({
            "logits": In(stream.Signature(logits_layout(config))),
            "queue": In(MemoryRead(config.max_experts * config.max_tokens, queue_entry_layout())),
            "lengths": Out(data.ArrayLayout(TOKEN_BITS, config.max_experts)),
            "done": Out(1),
            "sequence": In(SEQUENCE_BITS),
            "trace": Out(Flow(trace_layout(config))),
        })

    @property
    def LATENCY(self) -> int:
        """Cycles from a token's ``logits`` to the cycle in whose end its first entry is written."""
        return 1 + self._softmax.latency + self._winners.latency

    @property
    def WALK(self) -> int:
        """Cycles that a sigmoid or a selection bias costs a token."""
        return self._candidates.walk

    def elaborate(self, platform):
        m = Module()
        m.submodules.softmax, m.submodules.winners = softmax, winners = self._softmax, self._winners
        m.submodules.candidates, m.submodules.queues = candidates, queues = self._candidates, Queues(self._config)
        logits, winner = self.logits.payload, winners.o.payload
        taken = self.logits.valid & self.logits.ready

        # A token occupies the winners' stage for top_k cycles.
        wait, busy, routed, reported = Signal(EXPERT_BITS), Signal(), Signal(), Signal()
        m.d.comb += self.logits.ready.eq((wait == 0) & ~candidates.busy & ~(logits.first & busy))
        m.d.sync += wait.eq(Mux(taken, logits.top_k - 1, Mux(wait == 0, 0, wait - 1)))
        m.d.sync += busy.eq((busy & ~reported & ~candidates.biases_set) | taken)
        token, sequence, experts = Signal(TOKEN_BITS), Signal(SEQUENCE_BITS), Signal.like(logits.experts)
        first, last = Signal(), Signal()
        with m.If(taken):
            m.d.sync += [first.eq(logits.first), last.eq(logits.last), token.eq(Mux(logits.first, 0, token + 1))]
            with m.If(logits.first):
                m.d.sync += [sequence.eq(self.sequence), experts.eq(logits.experts)]

        line = Timeline(m)
        line.put(1, reset=True, valid=candidates.o.valid)
        line.put(1, token=token, first=first, last=last, top_k=candidates.o.payload.top_k)
        m.d.comb += [
            candidates.i.valid.eq(taken),
            candidates.i.payload.eq(logits),
            winners.top_k.eq(line.at(1 + softmax.latency, "top_k")),
        ]
        connect(m, candidates.o, softmax.i)
        connect(m, softmax.shares, winners.shares)
        connect(m, softmax.inverse, winners.inverse)
        about = self._about(m, line)
        connect(m, flipped(self.queue), queues.read)
        m.d.comb += [
            queues.append.eq(winners.o.valid),
            queues.clear.eq(about.first & (winner.rank == 0)),
            queues.expert.eq(winner.expert),
            queues.entry.token.eq(about.token),
            queues.entry.score.eq(winner.score),
            self.lengths.eq(queues.lengths),
            routed.eq(winners.o.valid & winner.last & about.last),
            self.done.eq(routed | candidates.biases_set),
        ]
        m.d.comb += reported.eq(self._report(m, routed, queues, winner, experts, sequence))
        return m

    def _about(self, m: Module, line: Timeline) -> data.View:
        """What belongs to the token of the winner that comes out: loaded as its rank 0 comes, steady up to the next."""
        layout = data.StructLayout({"token": TOKEN_BITS, "first": 1, "last": 1})
        about = Signal(layout, reset_less=True)
        with m.If(line.at(self.LATENCY - 1, "valid")):
            m.d.sync += [about[name].eq(line.at(self.LATENCY - 1, name)) for name in ("token", "first", "last")]
        return about

    def _report(self, m: Module, routed: Signal, queues: Queues, winner, experts: Signal, sequence: Signal) -> Value:
        """After ``routed`` the lengths of all queues, one per cycle; returns the end of that. Entries as they come."""
        index, reporting = Signal(EXPERT_BITS), Signal()
        end = reporting & (index == self._config.max_experts - 1)
        m.d.sync += index.eq(Mux(reporting, index + 1, 0))
        m.d.sync += reporting.eq((reporting & ~end) | routed)
        if self._config.trace:
            record = self.trace.payload
            m.d.comb += record.sequence.eq(sequence)
            with m.If(reporting):
                m.d.comb += [
                    self.trace.valid.eq(index < experts),
                    record.kind.eq(TraceKind.QUEUE),
                    record.address.eq(index),
                    record.data.eq(Array(self.lengths)[index]),
                ]
            with m.Else():
                m.d.comb += [
                    self.trace.valid.eq(queues.append),
                    record.kind.eq(TraceKind.ROUTE),
                    record.address.eq(Cat(winner.rank, queues.entry.token)),
                    record.data.eq(Cat(value | C(0, ROW_BITS) for value in (
                        winner.expert, winner.score[:ROW_BITS], winner.score[SCORE_FRACTION:]))),
                ]
        return end
