# SPDX-License-Identifier: Apache-2.0
"""The schedule: a quantised network as a list of steps."""

from typing import Any

import numpy as np

from moevit.spec.isa import ACTIVATION_OF, Destination, Opcode, Operand, Peak, Region, RowSource, WeightSource
from moevit.spec.quantised import QuantisedModel

from .attention import AttentionBuilder
from .builder import Layout, Payload, Step
from .packing import gate_digits, linear_bytes, pack_linear, pad_groups
from .plan import DoesNotFit, Plan, RowRange

__all__ = ["schedule"]


class _Schedule(AttentionBuilder):
    """Each method adds the steps of one part of the network."""

    def embed(self) -> None:
        """Positions come behind the image, so that they are fetched while it is sorted."""
        network, plan, config = self.network, self.plan, self.config
        # Images one below the other are one high image.
        for block in plan.embedding:
            self.add("image", Opcode.IMAGE, region=Region.IMAGE, rows=block.rows, patch=network.cell,
                     region_offset=block.start * network.cell_values,
                     region_beats=block.rows * network.cell_values // config.bus_bytes,
                     segment=3 * network.cell // 8, patches_x=network.width // network.patch,
                     destination_base=0, destination_stride=plan.patch_words)
            if block.start == 0:
                self._positions()
            target = self.add_to_residual(RowRange(network.prefix_tokens + block.start, block.rows))
            cells = Layout(network.patch, 3 * network.cell)  # the lines of a patch, of a cell each
            self.linear("patch_embed", columns=network.dim, inputs=cells, source=RowSource.HIDDEN, operand=Operand.RAW,
                        source_base=0, source_stride=plan.patch_words, rows=block.rows,
                        **self.groups(network.patches, network.prefix_tokens), **target)

    def _positions(self) -> None:
        """One image's rows, to the rows of every image: a batch is never cut."""
        plan, copies = self.plan, self.plan.batch - 1
        for block in plan.whole_rows:
            rows = self.model["position"][block.start:block.start + block.rows // plan.batch]
            self.add("position", Opcode.LOAD, self.rows_of_words(rows), region=Region.WEIGHTS,
                     destination_base=block.start * plan.dim_words, k_tiles=plan.dim_words, rows=len(rows),
                     **({"destination_stride": len(rows) * plan.dim_words, "copies": copies} if copies else {}))

    def _hidden_rows(self, channels: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Fields of a pass that writes hidden rows after activation, and of the pass that reads them."""
        words = self.plan.words(channels)
        write = {"destination": Destination.HIDDEN, "destination_base": 0, "destination_stride": words,
                 "activation": ACTIVATION_OF[self.network.activation],
                 "peak": Peak.ABSOLUTE, "peak_first": 1, "destination_peak": 0}
        read = {"source": RowSource.HIDDEN, "operand": Operand.ROW, "source_base": 0, "source_stride": words,
                "source_peak": 0, "rowwise": 1}
        return write, read

    def dense(self, name: str, norm: str) -> None:
        network = self.network
        by_task = {"region": Region.GATES, "copies": len(network.tasks)} if network.task_fc2 else {}
        for block in self.plan.dense:
            self.norm(norm, block)
            self._ffn(name, network.hidden, block, **by_task)

    def _ffn(self, name: str, hidden: int, block: RowRange, overlap: int = 0, **by_task: Any) -> None:
        """An FFN of all rows of the block. ``overlap``: passes since the NORM; ``by_task``: options of fc2."""
        write, read = self._hidden_rows(hidden)
        self.linear(f"{name}.fc1", columns=hidden, operand=Operand.NORM, overlap=overlap, **self.residual_rows(block),
                    **write)
        self.linear(f"{name}.fc2", columns=self.network.dim, rows=block.rows, **by_task, **read,
                    **self.add_to_residual(block))

    def moe(self, name: str, norm: str) -> None:
        network, plan = self.network, self.plan
        gate = self._gate(f"{name}.gate")
        select_bias = f"{name}.gate.select_bias"
        biases = self._biases(self.model[select_bias]) if network.select_bias else None
        for block in plan.moe:
            self.norm(norm, block, copied=True)
            if biases:
                self._set_bias(select_bias, biases)
            self.add(f"{name}.gate", Opcode.PASS, gate, macs=network.experts * network.dim, region=Region.GATES,
                     operand=Operand.NORM, digits=1, k_tiles=plan.dim_words, n_tiles=1, columns=network.experts,
                     shift=int(self.model[f"{name}.gate.shift"]), destination=Destination.ROUTER, top_k=network.top_k,
                     renormalise=int(network.renormalise), sigmoid=int(network.gate == "sigmoid"),
                     biased=int(network.select_bias), overlap=int(network.select_bias), **self.residual_rows(block))
            if network.shared_hidden:  # reads the rows before anything is added to them, while the router works
                self._ffn(f"{name}.shared", network.shared_hidden, block, overlap=1)
            self._experts(name, block)

    def _experts(self, name: str, block: RowRange) -> None:
        network, plan = self.network, self.plan
        write, read = self._hidden_rows(network.expert_hidden)
        start = len(self.steps)
        self.add(f"{name}.experts", Opcode.EXPERTS, speculate=int(self.model[f"{name}.speculate"]))
        self.linear(f"{name}.fc1", columns=network.expert_hidden, copies=network.experts, operand=Operand.NORM,
                    queued=1, gather=1, overlap=1, source_base=plan.copy, source_stride=plan.dim_words, **write)
        self.linear(f"{name}.fc2", columns=network.dim, copies=network.experts, queued=1, scatter=1, score=1,
                    **read, **self.add_to_residual(block))
        self.steps[start].fields["body"] = len(self.steps) - start - 1

    def _set_bias(self, name: str, biases: Payload) -> None:
        """A row times nothing, plus the biases: whatever values and residual rows are there."""
        self.add(name, Opcode.PASS, biases, region=Region.GATES, weights=WeightSource.VALUES, overlap=1, k_tiles=1,
                 n_tiles=1, columns=self.network.experts, destination=Destination.ROUTER, top_k=1, sets_bias=1, rows=1)

    def _biases(self, bias: np.ndarray) -> Payload:
        """Column parameters alone, a part per task."""
        def pack(task: int) -> bytes:
            experts = len(bias[task])
            return pack_linear(self.config, np.zeros((experts, 0)), np.zeros(experts), bias[task])

        return Payload(linear_bytes(self.config, self.network.experts, 0), pack, len(bias))

    def _gate(self, name: str) -> Payload:
        """A part per task."""
        config, network, dim_words = self.config, self.network, self.plan.dim_words

        def pack(task: int) -> bytes:
            weight, scale, bias = (self.model[f"{name}.{part}"][task] for part in ("weight", "column_scale", "bias"))
            return pack_linear(config, gate_digits(config, pad_groups(weight, 1, 1, dim_words * config.k_lanes)), scale,
                               bias)

        return Payload(linear_bytes(config, network.experts, config.gate_sweeps * dim_words), pack, len(network.tasks))

    def store(self) -> None:
        words = self.plan.dim_words
        for block in self.plan.whole_rows:
            self.add("output", Opcode.STORE, k_tiles=words,
                     region_offset=2 * self.config.k_lanes * words * block.start, **self.residual_rows(block))
        self.add("end", Opcode.END)


def schedule(model: QuantisedModel, plan: Plan) -> list[Step]:
    """All steps of one batch of images, in order. Raises DoesNotFit if the program memory does not hold them."""
    building = _Schedule(model, plan)
    building.embed()
    for index in range(model.network.depth):
        name = f"blocks.{index}"
        building.attention(f"{name}.attn", f"{name}.norm1")
        part, kind = (building.moe, "moe") if model.network.is_moe(index) else (building.dense, "mlp")
        part(f"{name}.{kind}", f"{name}.norm2")
    building.store()
    steps, config = building.steps, plan.config
    if len(steps) > config.program_length:
        raise DoesNotFit(f"{model.network.name} needs {len(steps)} instructions, {config.name} holds "
                         f"{config.program_length}; raise program_length")
    return steps
