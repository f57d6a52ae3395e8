# SPDX-License-Identifier: Apache-2.0
"""The memory plan: the place of each tensor of a network in the row memories, and whether the network fits."""

from dataclasses import dataclass
from typing import NamedTuple

from moevit.spec.arrays import CONFIGS, MachineConfig
from moevit.spec.formats import LONGEST_ROW, LONGEST_SUM
from moevit.spec.isa import FIELDS, GROUPS
from moevit.spec.networks import Network

__all__ = ["RowRange", "DoesNotFit", "Plan", "ceil_div", "check_fit", "reasons_against"]


_FIELD_MAX = {field.name: (1 << field.width) - 1 for field in FIELDS}


class DoesNotFit(ValueError):
    """A network that a configuration cannot hold. The message says why, and names the nearest one that can.

    Fix: compile for the configuration that the message names, or with a smaller image or batch.
    """


def ceil_div(a: int, b: int) -> int:
    """``a / b`` rounded up."""
    return -(-a // b)


class RowRange(NamedTuple):
    """Consecutive rows that a part of a block takes together: ``length`` of them from row ``start`` on."""

    start: int
    length: int


@dataclass(frozen=True)
class Plan:
    """Sizes in words and tiles of ``network`` on ``config``; word addresses of each region.

    The rows of ``batch`` images lie one image after the other, in every memory. If a sequence is too long for that,
    each part of a block is cut into row ranges, as few as the memories allow; each row range fetches the weights again.
    Keys and values stay whole. A head is padded to whole words among queries, keys and values, so that each head's pass
    starts on a boundary. Padded lanes hold zeros.
    """

    network: Network
    config: MachineConfig
    batch: int = 1

    @property
    def rows(self) -> int:
        """Tokens of all images."""
        return self.batch * self.network.tokens

    # Widths of a row, in words of k_lanes.
    def words(self, channels: int) -> int:
        """Words of a row of ``channels`` values."""
        return ceil_div(channels, self.config.k_lanes)

    @property
    def dim_words(self) -> int:
        return self.words(self.network.dim)

    @property
    def head_words(self) -> int:
        return self.words(self.network.head_dim)

    @property
    def moe_hidden_words(self) -> int:
        """Words of a hidden row in a MoE block, of an expert or of the shared FFN."""
        return self.words(max(self.network.expert_hidden, self.network.shared_hidden))

    @property
    def heads_words(self) -> int:
        return self.network.heads * self.head_words

    @property
    def logit_words(self) -> int:
        return self.words(self.network.tokens)

    @property
    def patch_words(self) -> int:
        return self.words(self.network.cell_values)

    def _ranges(self, rows: int, most: int, unit: int = 1) -> tuple[RowRange, ...]:
        """``rows`` cut into row ranges of whole units and of at most ``most`` rows.

        A row range has at least ``k_lanes`` rows even if ``most`` is less: the array would wait for its tiles. A batch
        is never cut. A row range that is still too long does not fit (`reasons_against`).
        """
        most = max(min(most, self.config.max_tokens) // unit, ceil_div(self.config.k_lanes, unit)) * unit
        if self.batch > 1 or rows <= most:
            return (RowRange(0, rows),)
        size = ceil_div(ceil_div(rows, ceil_div(rows, most)), unit) * unit
        return tuple(RowRange(start, min(size, rows - start)) for start in range(0, rows, size))

    @property
    def whole_rows(self) -> tuple[RowRange, ...]:
        """Of parts that move whole rows: positions, keys and values, output. Each starts with a word of keys."""
        return self._ranges(self.rows, self.config.max_tokens, self.config.ratio)

    @property
    def embedding(self) -> tuple[RowRange, ...]:
        """Of the patches, in whole lines of patches."""
        return self._ranges(self.batch * self.network.patches, self.config.hidden_words // self.patch_words,
                            self.network.width // self.network.patch)

    @property
    def attention(self) -> tuple[RowRange, ...]:
        """Of the queries."""
        return self._ranges(self.rows, self.config.hidden_words // (self.heads_words + 2 * self.logit_words))

    @property
    def has_dense(self) -> bool:
        return not all(map(self.network.is_moe, range(self.network.depth)))

    @property
    def dense(self) -> tuple[RowRange, ...]:
        """Of a dense FFN."""
        return self._ranges(self.rows, self.config.hidden_words // self.words(self.network.hidden))

    @property
    def moe(self) -> tuple[RowRange, ...]:
        """Of a MoE block. All tokens of a row range may choose the same expert; its rows and their copy find room."""
        room = (self.config.residual_words - self.copy) // self.dim_words
        return self._ranges(self.rows, min(room, self.config.hidden_words // self.moe_hidden_words))

    @property
    def whole(self) -> bool:
        """Whether no part is cut: behind the embedding a row has the same number in every instruction."""
        parts = [self.whole_rows, self.attention, *([self.dense] if self.has_dense else []),
                 *([self.moe] if self.network.experts else [])]
        return all(len(part) == 1 for part in parts)

    # Residual memory: all rows, and a copy of a MoE block's, which its experts read while they add to the rows.
    @property
    def copy(self) -> int:
        """First word of the copy."""
        return self.rows * self.dim_words

    @property
    def residual_words(self) -> int:
        """Words of the residual memory that are used."""
        return self.copy + (self.moe[0].length * self.dim_words if self.network.experts else 0)

    # Hidden memory during attention: queries, each replaced by its mixed row, and logits of two products of a head.
    def logits(self, index: int) -> int:
        """First word of the logits of product ``index``, 0 or 1; 2: first word behind them."""
        rows = self.attention[0].length
        return rows * self.heads_words + index * rows // self.batch * self.logit_words

    @property
    def hidden_words(self) -> int:
        """Words of the hidden memory that are used."""
        network = self.network
        return max(self.logits(min(self.batch * network.heads, 2)),
                   self.dense[0].length * self.words(network.hidden) if self.has_dense else 0,
                   self.moe[0].length * self.moe_hidden_words if network.experts else 0,
                   self.embedding[0].length * self.patch_words)

    # Key and value memory, words of n_lanes. Tiles of an image may reach into the keys and values of the next image:
    # these logits are no valid columns, and these exponentials are 0.
    @property
    def image_keys(self) -> int:
        """Words from image to image of the keys, of which a word holds ``ratio``."""
        return ceil_div(self.network.tokens, self.config.ratio)

    @property
    def key_gap(self) -> int:
        """Keys left out after an image, so that the next one starts with a word."""
        return -self.network.tokens % self.config.ratio

    @property
    def key_tile_words(self) -> int:
        """From k-tile to k-tile of the keys: all keys, the last image's padded to whole tiles."""
        padded = ceil_div(self.network.tokens, self.config.n_lanes) * self.config.k_lanes
        return (self.batch - 1) * self.image_keys + padded

    @property
    def value_tile_words(self) -> int:
        """From n-tile to n-tile of the values: all values, the last image's padded to whole tiles."""
        return (self.batch - 1) * self.network.tokens + self.logit_words * self.config.k_lanes

    @property
    def value_tiles(self) -> int:
        """Of all heads: an n-tile may be shared by two."""
        return ceil_div(self.heads_words, self.config.ratio)

    @property
    def values(self) -> int:
        """First word of the values, behind all keys."""
        return self.heads_words * self.key_tile_words

    @property
    def kv_words(self) -> int:
        """Words of the key and value memory that are used."""
        return self.values + self.value_tiles * self.value_tile_words


def reasons_against(network: Network, config: MachineConfig, batch: int = 1) -> list[str]:
    """Why ``batch`` images at a time of ``network`` do not fit ``config``; empty if they do."""
    plan, reasons = Plan(network, config, batch), []

    def limit(what: str, need: int, have: int) -> None:
        if need > have:
            reasons.append(f"{what}: needs {need}, has {have}")

    limit("images of a batch", batch, GROUPS)
    longest = max(part[0].length for part in (plan.whole_rows, plan.embedding, plan.attention))
    limit("tokens", longest, config.max_tokens)
    limit("experts", network.experts, config.max_experts)
    limit("residual memory words", plan.residual_words, config.residual_words)
    limit("hidden memory words", plan.hidden_words, config.hidden_words)
    limit("key and value memory words", plan.kv_words, config.kv_words)
    limit("channels of a token", network.dim, LONGEST_ROW)
    # Keys and values may have any value. Sums of other layers are bounded by their weights (`spec.splits`).
    limit("tokens that a product adds up", network.tokens, LONGEST_SUM)
    limit("patches side by side", network.width // network.patch, _FIELD_MAX["patches_x"])
    limit("pixels of a cell", network.cell, _FIELD_MAX["patch"])
    if batch > 1:
        limit("prefix tokens of a batch", network.prefix_tokens, _FIELD_MAX["gap"])
    return reasons


def check_fit(network: Network, config: MachineConfig, batch: int = 1) -> Plan:
    """The plan. Raises DoesNotFit, with every reason and the nearest configuration that fits."""
    if batch < 1:
        raise DoesNotFit(f"a batch has at least 1 image, not {batch}")
    reasons = reasons_against(network, config, batch)
    if not reasons:
        return Plan(network, config, batch)
    fitting = [other for other in CONFIGS.values() if not reasons_against(network, other, batch)]
    nearest = min(fitting, key=lambda other: abs(other.macs_per_cycle - config.macs_per_cycle), default=None)
    hint = f"the nearest configuration that fits is {nearest.name}" if nearest else "no named configuration fits"
    what = network.name if batch == 1 else f"{network.name} with a batch of {batch}"
    raise DoesNotFit(f"{what} does not fit {config.name} ({'; '.join(reasons)}); {hint}")
