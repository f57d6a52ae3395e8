# SPDX-License-Identifier: Apache-2.0
"""The schedule: a quantised network as a list of steps."""

from typing import Any

import numpy as np

from moevit.spec.isa import ACTIVATION_OF, Destination, Opcode, Operand, Peak, Region, RowSource, WeightSource
from moevit.spec.parts import Part
from moevit.spec.quantised import QuantisedModel

from .attention import AttentionBuilder
from .builder import Layout, Payload, Step
from .packing import gate_digits, linear_bytes, pack_linear, pad_groups
from .plan import DoesNotFit, Plan, RowRange

__all__ = ["schedule"]


class _Schedule(AttentionBuilder):
    """Each method appends the steps of one part of the network."""

    def embed(self) -> None:
        """Image, positions, patch embedding. The positions are fetched while the machine sorts the image."""
        network, plan, config = self.network, self.plan, self.config
        # Images one below the other are one high image.
        for rows in plan.embedding:
            self.add("image", Part.IMAGE, Opcode.IMAGE, region=Region.IMAGE, rows=rows.length, patch=network.cell,
                     region_offset=rows.start * network.cell_values,
                     region_beats=rows.length * network.cell_values // config.bus_bytes,
                     segment=3 * network.cell // 8, patches_x=network.width // network.patch,
                     destination_base=0, destination_stride=plan.patch_words)
            if rows.start == 0:
                self._positions()
            target = self.add_to_residual(RowRange(network.prefix_tokens + rows.start, rows.length))
            cells = Layout(network.patch, 3 * network.cell)  # the lines of a patch, of a cell each
            self.linear("patch_embed", Part.EMBED, None, columns=network.dim, inputs=cells, source=RowSource.HIDDEN,
                        operand=Operand.RAW, source_base=0, source_stride=plan.patch_words, rows=rows.length,
                        **self.groups(network.patches, network.prefix_tokens), **target)

    def _positions(self) -> None:
        """One image's positions, to the rows of every image. A batch is never cut."""
        plan, copies = self.plan, self.plan.batch - 1
        for rows in plan.whole_rows:
            position = self.model["position"][rows.start:rows.start + rows.length // plan.batch]
            self.add("position", Part.POSITION, Opcode.LOAD, self.rows_of_words(position), region=Region.WEIGHTS,
                     destination_base=rows.start * plan.dim_words, k_tiles=plan.dim_words, rows=len(position),
                     **({"destination_stride": len(position) * plan.dim_words, "copies": copies} if copies else {}))

    def _hidden_rows(self, channels: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Fields of a pass that writes hidden rows after activation, and of the pass that reads them."""
        words = self.plan.words(channels)
        write = {"destination": Destination.HIDDEN, "destination_base": 0, "destination_stride": words,
                 "activation": ACTIVATION_OF[self.network.activation],
                 "peak": Peak.ABSOLUTE, "peak_first": 1, "destination_peak": 0}
        read = {"source": RowSource.HIDDEN, "operand": Operand.ROW, "source_base": 0, "source_stride": words,
                "source_peak": 0, "rowwise": 1}
        return write, read

    def dense(self, block: int) -> None:
        """The dense FFN of ``block`` behind its second LayerNorm."""
        network, name = self.network, f"blocks.{block}.mlp"
        part: Part = Part.TASK_FC2 if network.task_fc2 else Part.FC2
        by_task = {"region": Region.GATES, "copies": len(network.tasks)} if network.task_fc2 else {}
        for rows in self.plan.dense:
            self.norm(Part.NORM2, block, rows)
            self._ffn(name, (Part.FC1, part), block, network.hidden, rows, **by_task)

    def _ffn(self, name: str, parts: tuple[Part, Part], block: int, hidden: int, rows: RowRange, overlap: int = 0,
             **by_task: Any) -> None:
        """The layers ``fc1`` and ``fc2`` of an FFN that takes all ``rows``.

        ``overlap``: instructions since the NORM. ``by_task``: options of fc2.
        """
        write, read = self._hidden_rows(hidden)
        self.linear(f"{name}.fc1", parts[0], block, columns=hidden, operand=Operand.NORM, overlap=overlap,
                    **self.residual_rows(rows), **write)
        self.linear(f"{name}.fc2", parts[1], block, columns=self.network.dim, rows=rows.length, **by_task, **read,
                    **self.add_to_residual(rows))

    def moe(self, block: int) -> None:
        """The MoE layer of ``block`` behind its second LayerNorm: gate, shared FFN, experts."""
        network, plan, name = self.network, self.plan, f"blocks.{block}.moe"
        gate = self._gate(f"{name}.gate")
        biases = self._biases(self.model[f"{name}.gate.select_bias"]) if network.select_bias else None
        for rows in plan.moe:
            self.norm(Part.NORM2, block, rows, copied=True)
            if biases:
                self._set_bias(block, biases)
            self.add(f"{name}.gate", Part.GATE, Opcode.PASS, gate, block=block, macs=network.experts * network.dim,
                     region=Region.GATES, operand=Operand.NORM, digits=1, k_tiles=plan.dim_words, n_tiles=1,
                     columns=network.experts, shift=int(self.model[f"{name}.gate.shift"]),
                     destination=Destination.ROUTER, top_k=network.top_k, renormalise=int(network.renormalise),
                     sigmoid=int(network.gate == "sigmoid"), biased=int(network.select_bias),
                     overlap=int(network.select_bias), **self.residual_rows(rows))
            if network.shared_hidden:  # reads the rows before anything is added to them, while the router works
                self._ffn(f"{name}.shared", (Part.SHARED_FC1, Part.SHARED_FC2), block, network.shared_hidden, rows,
                          overlap=1)
            self._experts(block, rows)

    def _experts(self, block: int, rows: RowRange) -> None:
        """The loop over experts. It reads the copy of ``rows`` and adds to the rows themselves."""
        network, plan, name = self.network, self.plan, f"blocks.{block}.moe"
        write, read = self._hidden_rows(network.expert_hidden)
        start = len(self.steps)
        self.add(f"{name}.experts", Part.EXPERTS, Opcode.EXPERTS, block=block,
                 speculate=int(self.model[f"{name}.speculate"]))
        self.linear(f"{name}.fc1", Part.EXPERT_FC1, block, columns=network.expert_hidden, copies=network.experts,
                    operand=Operand.NORM, queued=1, gather=1, overlap=1, source_base=plan.copy,
                    source_stride=plan.dim_words, **write)
        self.linear(f"{name}.fc2", Part.EXPERT_FC2, block, columns=network.dim, copies=network.experts, queued=1,
                    scatter=1, score=1, **read, **self.add_to_residual(rows))
        self.steps[start].fields["body"] = len(self.steps) - start - 1

    def _set_bias(self, block: int, biases: Payload) -> None:
        """One row whose scaled products are 0, plus the biases. So any value and any residual row will do."""
        self.add(f"blocks.{block}.moe.gate.select_bias", Part.SELECT_BIAS, Opcode.PASS, biases, block=block,
                 region=Region.GATES, weights=WeightSource.VALUES, overlap=1, k_tiles=1, n_tiles=1,
                 columns=self.network.experts, destination=Destination.ROUTER, top_k=1, sets_bias=1, rows=1)

    def _biases(self, bias: np.ndarray) -> Payload:
        """Column parameters without tiles, a copy per task."""
        def pack(task: int) -> bytes:
            experts = len(bias[task])
            return pack_linear(self.config, np.zeros((experts, 0)), np.zeros(experts), bias[task])

        return Payload(linear_bytes(self.config, self.network.experts, 0), pack, len(bias))

    def _gate(self, name: str) -> Payload:
        """The gate's two digits of each weight, a copy per task."""
        config, network, dim_words = self.config, self.network, self.plan.dim_words

        def pack(task: int) -> bytes:
            weight, scale, bias = (self.model[f"{name}.{each}"][task] for each in ("weight", "column_scale", "bias"))
            return pack_linear(config, gate_digits(config, pad_groups(weight, 1, 1, dim_words * config.k_lanes)), scale,
                               bias)

        return Payload(linear_bytes(config, network.experts, config.gate_sweeps * dim_words), pack, len(network.tasks))

    def store(self) -> None:
        """Tokens to the host's memory, and the end of the frame."""
        words = self.plan.dim_words
        for rows in self.plan.whole_rows:
            self.add("output", Part.OUTPUT, Opcode.STORE, k_tiles=words,
                     region_offset=self.config.word_bytes * words * rows.start, **self.residual_rows(rows))
        self.add("end", Part.END, Opcode.END)


def schedule(model: QuantisedModel, plan: Plan) -> list[Step]:
    """All steps of one batch of images, in order. Raises DoesNotFit if the program memory does not hold them."""
    builder = _Schedule(model, plan)
    builder.embed()
    for block in range(model.network.depth):
        builder.attention(block)
        if model.network.is_moe(block):
            builder.moe(block)
        else:
            builder.dense(block)
    builder.store()
    steps, config = builder.steps, plan.config
    if len(steps) > config.program_length:
        raise DoesNotFit(f"{model.network.name} needs {len(steps)} instructions, {config.name} holds "
                         f"{config.program_length}; raise program_length")
    return steps
