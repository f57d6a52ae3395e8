# SPDX-License-Identifier: Apache-2.0
"""The schedule of an attention layer: keys and values, then queries, logits and mixed rows, head by head."""

from moevit.spec.isa import Destination, Opcode, Operand, Peak, RowSource, Saturation, WeightSource

from .builder import Builder, Layout
from .plan import RowRange, ceil_div

__all__ = ["AttentionBuilder"]

_ANY = 2  # deep enough an overlap for passes that depend on nothing recent


class AttentionBuilder(Builder):
    """A builder that knows attention layers."""

    def attention(self, name: str, norm: str) -> None:
        """The layer called ``name`` behind the LayerNorm called ``norm``: keys and values of all rows; then, by blocks
        of queries, heads and projection."""
        network, plan, config = self.network, self.plan, self.config
        heads = Layout(network.heads, plan.head_words * config.k_lanes)
        whole = len(plan.attention) == 1
        for block in plan.whole_rows:
            self.norm(norm, block)
            normed = {**self.residual_rows(block), "operand": Operand.NORM}
            self.linear(f"{name}.key", columns=heads.groups * heads.size, outputs=heads,
                        destination=Destination.KEYS, destination_base=block.start // config.ratio,
                        destination_stride=plan.key_tile_words, saturation=Saturation.WEIGHT,
                        **self.groups(network.tokens, plan.key_gap), **normed)
            if whole:
                self._queries(name, block, overlap=1)
            self.linear(f"{name}.value", columns=heads.groups * heads.size, outputs=heads,
                        destination=Destination.VALUES, destination_base=plan.values + block.start,
                        destination_stride=plan.value_tile_words, saturation=Saturation.WEIGHT,
                        overlap=2 if whole else 1, **normed)
        for block in plan.attention:
            if not whole:
                self.norm(norm, block)
                self._queries(name, block, overlap=0)
            # Logits are written while those of the image or head before are mixed: neither waits for the other to
            # drain. The first ones wait for the queries, behind which only values may be unfinished.
            products = network.heads * plan.batch
            for index in range(products + 1):
                if index < products:
                    self._logits(name, index, block, overlap=_ANY if index else int(whole))
                if index > 0:
                    self._mix(name, index - 1, block, overlap=int(products > 1))
            self.linear(f"{name}.proj", columns=network.dim, inputs=heads, source=RowSource.HIDDEN,
                        operand=Operand.ROW, source_base=0, source_stride=plan.heads_words,
                        source_peak=2 * block.rows // plan.batch, rows=block.rows,
                        rowwise=int(plan.batch == 1),  # otherwise rows of the last pass are those of the last image
                        **self.add_to_residual(block))

    def _queries(self, name: str, block: RowRange, overlap: int) -> None:
        plan = self.plan
        heads = Layout(self.network.heads, plan.head_words * self.config.k_lanes)
        self.linear(f"{name}.query", columns=heads.groups * heads.size, outputs=heads,
                    destination=Destination.HIDDEN, destination_base=0, destination_stride=plan.heads_words,
                    saturation=Saturation.OPERAND, overlap=overlap, operand=Operand.NORM, **self.residual_rows(block))

    def _product(self, index: int, block: RowRange) -> tuple[int, int, int, str]:
        """Head, image, its rows in the block, and name: all images of a head, then those of the next one."""
        head, image = divmod(index, self.plan.batch)
        label = f"head{head}" if self.plan.batch == 1 else f"head{head}.image{image}"
        return head, image, block.rows // self.plan.batch, label

    def _logits(self, name: str, index: int, block: RowRange, overlap: int) -> None:
        network, plan = self.network, self.plan
        head, image, rows, label = self._product(index, block)
        self.add(f"{name}.logit.{label}", Opcode.PASS, macs=network.tokens * network.head_dim,
                 overlap=overlap, source=RowSource.HIDDEN, operand=Operand.RAW, rows=rows,
                 source_base=image * rows * plan.heads_words + head * plan.head_words, source_stride=plan.heads_words,
                 k_tiles=plan.head_words, n_tiles=ceil_div(network.tokens, self.config.n_lanes),
                 weights=WeightSource.KEYS,
                 kv_base=head * plan.head_words * plan.key_tile_words + image * plan.image_keys,
                 kv_k_stride=plan.key_tile_words, kv_n_stride=self.config.k_lanes, columns=network.tokens,
                 constant=1, constant_scale=int(self.model[f"{name}.logit.scale"]),
                 shift=int(self.model[f"{name}.logit.shift"]), destination=Destination.HIDDEN,
                 destination_base=plan.logits(index % 2), destination_stride=plan.logit_words,
                 peak=Peak.MAXIMUM, peak_first=1, destination_peak=index % 2 * rows)

    def _mix(self, name: str, index: int, block: RowRange, overlap: int) -> None:
        """In place of the head's queries, which are read no more. Where a head's values begin with the second word of
        an n-tile, what the first word would give, of another head, is left out."""
        network, plan, config = self.network, self.plan, self.config
        head, image, rows, label = self._product(index, block)
        tile, first_word = divmod(head * plan.head_words, config.ratio)
        self.add(f"{name}.mix.{label}", Opcode.PASS, macs=network.tokens * network.head_dim,
                 overlap=overlap, source=RowSource.HIDDEN, operand=Operand.EXP, rows=rows,
                 source_base=plan.logits(index % 2), source_stride=plan.logit_words,
                 keys=network.tokens, source_peak=index % 2 * rows, k_tiles=plan.logit_words,
                 n_tiles=ceil_div(first_word + plan.head_words, config.ratio), weights=WeightSource.VALUES,
                 kv_base=plan.values + tile * plan.value_tile_words + image * rows,
                 kv_k_stride=config.k_lanes, kv_n_stride=plan.value_tile_words,
                 first_word=first_word, columns=first_word * config.k_lanes + network.head_dim,
                 constant=1, constant_scale=int(self.model[f"{name}.mix.scale"]),
                 shift=int(self.model[f"{name}.mix.shift"]), destination=Destination.HIDDEN,
                 destination_base=image * rows * plan.heads_words + head * plan.head_words - first_word,
                 destination_stride=plan.heads_words, peak=Peak.ABSOLUTE, peak_first=int(head == 0),
                 destination_peak=(2 + image) * rows)
