# SPDX-License-Identifier: Apache-2.0
"""The router: from gate logits to one queue of tokens per expert."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import ROW_BITS, SCORE_FRACTION
from moevit.spec.trace import TraceKind

from ..interfaces import Flow, MemoryRead
from ..layouts import EXPERT_BITS, SEQUENCE_BITS, TOKEN_BITS, logits_layout, queue_entry_layout, trace_layout
from ..plumbing.timeline import Timeline
from .candidates import Candidates
from .queues import Queues
from .softmax import GateSoftmax
from .top_k import TopK

__all__ = ["Router"]


class Router(wiring.Component):
    """Chooses the best top_k experts of each token, computes their scores, and appends the token to their queues.

    Golden: ``golden.integer.router``.
    Latency: `latency` cycles from a token's ``logits`` to the cycle in whose end its first entry is written;
    `latency_ring` more with a sigmoid or a selection bias.
    Throughput: a token every top_k cycles; a token every `latency_ring` + 1 cycles with a sigmoid or a selection bias.
    Back-pressure: ``logits`` waits for the token before. The first token of a pass also waits for the pass before; it
    is taken max_experts + 1 cycles after its ``done`` at the earliest, 1 cycle if that pass sets the biases.

    Parameters
    ----------
    config : MachineConfig
        ``max_experts``, ``max_tokens``, ``trace``

    Members
    -------
    logits : In(stream.Signature(logits_layout(config)))
        tokens 0, 1, ... of a pass. ``experts`` and how to choose are the same for all of them,
        1 <= top_k <= experts <= max_experts. With ``sets_bias`` the token is the only one of its pass and is not routed
    queue : In(MemoryRead(max_experts x max_tokens, queue_entry_layout()))
        the row reader's port: entry i of an expert at ``expert x max_tokens + i``
    lengths : Out(data.ArrayLayout(12, max_experts))
        entries per expert; they count up from a pass's first entry on and are complete in the cycle after ``done``
    done : Out(1)
        pulse: the last entry of a pass is being written, or the biases are set
    sequence : In(16)
        number of the instruction of ``logits``, for the trace
    trace : Out(Flow(trace_layout(config)))
        a record per entry; after a pass, the lengths of all queues (never valid unless the configuration traces)
    """

    def __init__(self, config: MachineConfig):
        self._config, self._candidates = config, Candidates(config)
        self._softmax = softmax = GateSoftmax(config)
        self._top_k = TopK(config, softmax.latency_inverse - softmax.latency)
        super().__init__({
            "logits": In(stream.Signature(logits_layout(config))),
            "queue": In(MemoryRead(config.max_experts * config.max_tokens, queue_entry_layout())),
            "lengths": Out(data.ArrayLayout(TOKEN_BITS, config.max_experts)),
            "done": Out(1),
            "sequence": In(SEQUENCE_BITS),
            "trace": Out(Flow(trace_layout(config))),
        })

    @property
    def latency(self) -> int:
        """Cycles from a token's ``logits`` to the cycle in whose end its first entry is written."""
        return self._candidates.latency + self._softmax.latency + self._top_k.latency

    @property
    def latency_ring(self) -> int:
        """Cycles that a sigmoid or a selection bias costs a token; meanwhile the router takes no other token."""
        return self._candidates.latency_ring

    def elaborate(self, platform):
        m = Module()
        m.submodules.softmax, m.submodules.top_k = softmax, top_k = self._softmax, self._top_k
        m.submodules.candidates, m.submodules.queues = candidates, queues = self._candidates, Queues(self._config)
        routed, reported = Signal(), Signal()
        line = Timeline(m)
        sequence, experts = self._accept(m, line, candidates, reported)
        connect(m, candidates.o, softmax.i)
        connect(m, softmax.shares, top_k.shares)
        connect(m, softmax.inverse, top_k.inverse)
        connect(m, flipped(self.queue), queues.read)
        choice, token = top_k.o.payload, self._token(m, line)
        m.d.comb += [
            top_k.top_k.eq(line.at(1 + softmax.latency, "top_k")),
            queues.append.eq(top_k.o.valid),
            queues.clear.eq(token.first & (choice.rank == 0)),
            queues.expert.eq(choice.expert),
            queues.entry.token.eq(token.token),
            queues.entry.score.eq(choice.score),
            self.lengths.eq(queues.lengths),
            routed.eq(top_k.o.valid & choice.last & token.last),
            self.done.eq(routed | candidates.biases_set),
        ]
        m.d.comb += reported.eq(self._report(m, routed, queues, choice, experts, sequence))
        return m

    def _accept(self, m: Module, line: Timeline, candidates: Candidates, reported: Signal) -> tuple[Signal, Signal]:
        """Takes tokens and counts them; returns the number of the instruction and how many experts it has."""
        logits, accept = self.logits.payload, self.logits.valid & self.logits.ready
        # A token occupies `TopK` for top_k cycles. `busy`: a pass is under way.
        wait, busy = Signal(EXPERT_BITS), Signal()
        m.d.comb += self.logits.ready.eq((wait == 0) & ~candidates.busy & ~(logits.first & busy))
        m.d.sync += wait.eq(Mux(accept, logits.top_k - 1, Mux(wait == 0, 0, wait - 1)))
        m.d.sync += busy.eq((busy & ~reported & ~candidates.biases_set) | accept)
        m.d.comb += [candidates.i.valid.eq(accept), candidates.i.payload.eq(logits)]
        token, sequence, experts = Signal(TOKEN_BITS), Signal(SEQUENCE_BITS), Signal.like(logits.experts)
        first, last = Signal(), Signal()
        with m.If(accept):
            m.d.sync += [first.eq(logits.first), last.eq(logits.last), token.eq(Mux(logits.first, 0, token + 1))]
            with m.If(logits.first):
                m.d.sync += [sequence.eq(self.sequence), experts.eq(logits.experts)]
        line.put(1, reset=True, valid=candidates.o.valid)
        line.put(1, token=token, first=first, last=last, top_k=candidates.o.payload.top_k)
        return sequence, experts

    def _token(self, m: Module, line: Timeline) -> data.View:
        """The token whose experts `TopK` gives: it changes as its rank 0 comes."""
        layout = data.StructLayout({"token": TOKEN_BITS, "first": 1, "last": 1})
        token = Signal(layout, reset_less=True)
        with m.If(line.at(self.latency - 1, "valid")):
            m.d.sync += [token[name].eq(line.at(self.latency - 1, name)) for name in ("token", "first", "last")]
        return token

    def _report(self, m: Module, routed: Signal, queues: Queues, choice, experts: Signal, sequence: Signal) -> Value:
        """The trace: entries as they come; after ``routed`` the lengths of all queues, one per cycle.

        Returns the cycle of the last length, also in a configuration without trace.
        """
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
                    record.address.eq(Cat(choice.rank, queues.entry.token)),
                    record.data.eq(Cat(value | C(0, ROW_BITS) for value in (
                        choice.expert, choice.score[:ROW_BITS], choice.score[SCORE_FRACTION:]))),
                ]
        return end
