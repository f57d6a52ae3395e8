# SPDX-License-Identifier: Apache-2.0
"""The schedule of an attention layer: keys and values, then queries, logits and mixed rows, head by head."""

from typing import NamedTuple

from moevit.spec.isa import Destination, Opcode, Operand, Peak, RowSource, Saturation, WeightSource
from moevit.spec.parts import Part

from .builder import Builder, Layout
from .plan import RowRange, ceil_div

__all__ = ["AttentionBuilder"]

_ANY = 2  # overlap of a pass that depends on no recent instruction


class _Product(NamedTuple):
    """Logits or mixed rows of one head of one image, which has ``rows`` rows of the row range."""

    head: int
    image: int
    rows: int
    label: str


class AttentionBuilder(Builder):
    """A builder of attention layers."""

    def attention(self, block: int) -> None:
        """Attention of ``block`` behind its first LayerNorm: keys and values of all rows; then, for each row range,
        queries, heads and projection."""
        plan = self.plan
        whole = len(plan.attention) == 1
        for rows in plan.whole_rows:
            self._keys_and_values(block, rows, whole)
        for rows in plan.attention:
            if not whole:
                self.norm(Part.NORM1, block, rows)
                self._queries(block, rows, overlap=0)
            # Logits are written while those of the image or head before are mixed: neither waits for the other to
            # drain. The first ones wait for the queries, behind which only values may be unfinished.
            products = self.network.heads * plan.batch
            for index in range(products + 1):
                if index < products:
                    self._logits(block, index, rows, overlap=_ANY if index else int(whole))
                if index > 0:
                    self._mix(block, index - 1, rows, overlap=int(products > 1))
            self.linear(f"blocks.{block}.attn.proj", Part.PROJ, block, columns=self.network.dim,
                        inputs=self._heads, source=RowSource.HIDDEN, operand=Operand.ROW, source_base=0,
                        source_stride=plan.heads_words, source_peak=2 * rows.length // plan.batch, rows=rows.length,
                        rowwise=int(plan.batch == 1),  # otherwise rows of the last pass are those of the last image
                        **self.add_to_residual(rows))

    @property
    def _heads(self) -> Layout:
        """Each head begins with a word."""
        return Layout(self.network.heads, self.plan.head_words * self.config.k_lanes)

    def _keys_and_values(self, block: int, rows: RowRange, whole: bool) -> None:
        """``whole``: the queries are not cut, so they follow the keys and share their NORM."""
        network, plan, heads = self.network, self.plan, self._heads
        columns = heads.groups * heads.size
        self.norm(Part.NORM1, block, rows)
        normed = {**self.residual_rows(rows), "operand": Operand.NORM}
        self.linear(f"blocks.{block}.attn.key", Part.KEY, block, columns=columns, outputs=heads,
                    destination=Destination.KEYS, destination_base=rows.start // self.config.ratio,
                    destination_stride=plan.key_tile_words, saturation=Saturation.WEIGHT,
                    **self.groups(network.tokens, plan.key_gap), **normed)
        if whole:
            self._queries(block, rows, overlap=1)
        self.linear(f"blocks.{block}.attn.value", Part.VALUE, block, columns=columns, outputs=heads,
                    destination=Destination.VALUES, destination_base=plan.values + rows.start,
                    destination_stride=plan.value_tile_words, saturation=Saturation.WEIGHT,
                    overlap=2 if whole else 1, **normed)

    def _queries(self, block: int, rows: RowRange, overlap: int) -> None:
        heads = self._heads
        self.linear(f"blocks.{block}.attn.query", Part.QUERY, block, columns=heads.groups * heads.size, outputs=heads,
                    destination=Destination.HIDDEN, destination_base=0, destination_stride=self.plan.heads_words,
                    saturation=Saturation.OPERAND, overlap=overlap, operand=Operand.NORM, **self.residual_rows(rows))

    def _product(self, index: int, rows: RowRange) -> _Product:
        """Product ``index``: all images of a head come before those of the next head."""
        head, image = divmod(index, self.plan.batch)
        label = f"head{head}" if self.plan.batch == 1 else f"head{head}.image{image}"
        return _Product(head, image, rows.length // self.plan.batch, label)

    def _logits(self, block: int, index: int, rows: RowRange, overlap: int) -> None:
        network, plan, name = self.network, self.plan, f"blocks.{block}.attn.logit"
        head, image, count, label = self._product(index, rows)
        self.add(f"{name}.{label}", Part.LOGIT, Opcode.PASS, block=block, head=head,
                 macs=network.tokens * network.head_dim, overlap=overlap, source=RowSource.HIDDEN, operand=Operand.RAW,
                 rows=count, source_base=image * count * plan.heads_words + head * plan.head_words,
                 source_stride=plan.heads_words, k_tiles=plan.head_words,
                 n_tiles=ceil_div(network.tokens, self.config.n_lanes), weights=WeightSource.KEYS,
                 kv_base=head * plan.head_words * plan.key_tile_words + image * plan.image_keys,
                 kv_k_stride=plan.key_tile_words, kv_n_stride=self.config.k_lanes, columns=network.tokens,
                 constant=1, constant_scale=int(self.model[f"{name}.scale"]), shift=int(self.model[f"{name}.shift"]),
                 destination=Destination.HIDDEN, destination_base=plan.logits(index % 2),
                 destination_stride=plan.logit_words, peak=Peak.MAXIMUM, peak_first=1,
                 destination_peak=index % 2 * count)

    def _mix(self, block: int, index: int, rows: RowRange, overlap: int) -> None:
        """Mixed rows replace the head's queries, which no later pass reads. The values of a head may begin with the
        second word of an n-tile. Then the pass leaves out the first word, which belongs to another head."""
        network, plan, config, name = self.network, self.plan, self.config, f"blocks.{block}.attn.mix"
        head, image, count, label = self._product(index, rows)
        tile, first_word = divmod(head * plan.head_words, config.ratio)
        self.add(f"{name}.{label}", Part.MIX, Opcode.PASS, block=block, head=head,
                 macs=network.tokens * network.head_dim, overlap=overlap, source=RowSource.HIDDEN, operand=Operand.EXP,
                 rows=count, source_base=plan.logits(index % 2), source_stride=plan.logit_words,
                 keys=network.tokens, source_peak=index % 2 * count, k_tiles=plan.logit_words,
                 n_tiles=ceil_div(first_word + plan.head_words, config.ratio), weights=WeightSource.VALUES,
                 kv_base=plan.values + tile * plan.value_tile_words + image * count,
                 kv_k_stride=config.k_lanes, kv_n_stride=plan.value_tile_words,
                 first_word=first_word, columns=first_word * config.k_lanes + network.head_dim,
                 constant=1, constant_scale=int(self.model[f"{name}.scale"]), shift=int(self.model[f"{name}.shift"]),
                 destination=Destination.HIDDEN,
                 destination_base=image * count * plan.heads_words + head * plan.head_words - first_word,
                 destination_stride=plan.heads_words, peak=Peak.ABSOLUTE, peak_first=int(head == 0),
                 destination_peak=(2 + image) * count)
