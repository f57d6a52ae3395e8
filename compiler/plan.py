# SPDX-License-Identifier: Apache-2.0
"""The memory plan: where each tensor of a network lies in the row memories, and whether it fits at all."""

from dataclasses import dataclass
from typing import NamedTuple

from moevit.spec.arrays import CONFIGS, MachineConfig
from moevit.spec.formats import LONGEST_ROW, LONGEST_SUM
from moevit.spec.isa import FIELDS, GROUPS
from moevit.spec.networks import Network

__all__ = ["RowRange", "DoesNotFit", "Plan", "ceil_div", "check_fit", "reasons_against"]


_FIELD_MAX = {field.name: (1 << field.width) - 1 for field in FIELDS}


class DoesNotFit(ValueError):
    """A network that an array configuration cannot hold; says why, and the nearest one that can."""


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


class RowRange(NamedTuple):
    """Rows that a pass takes together: ``start`` is the first of them."""

    start: int
    rows: int


@dataclass(frozen=True)
class Plan:
    """Sizes in words and tiles of ``network`` on ``config``; word addresses of each region.

    The rows of ``batch`` images lie one image after the other, in every memory. A sequence that is too long for that
    is cut into blocks of rows, part by part, as few as the memories allow; each block fetches the weights again. Keys
    and values stay whole. A head is padded to whole words among queries, keys and values, so that each head's pass
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
        return ceil_div(channels, self.config.k_lanes)

    @property
    def dim_words(self) -> int:
        return self.words(self.network.dim)

    @property
    def head_words(self) -> int:
        return self.words(self.network.head_dim)

    @property
    def moe_hidden_words(self) -> int:
        """Of a hidden row in a MoE block: an expert's, or the shared FFN's before them."""
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

    def _blocks(self, rows: int, most: int, unit: int = 1) -> tuple[RowRange, ...]:
        """``rows`` in blocks of whole units, none longer than ``most``, but none of fewer rows than k_lanes either: the
        array would wait for its tiles. A batch is never cut. What is too long after that does not fit."""
        most = max(min(most, self.config.max_tokens) // unit, ceil_div(self.config.k_lanes, unit)) * unit
        if self.batch > 1 or rows <= most:
            return (RowRange(0, rows),)
        size = ceil_div(ceil_div(rows, ceil_div(rows, most)), unit) * unit
        return tuple(RowRange(start, min(size, rows - start)) for start in range(0, rows, size))

    @property
    def whole_rows(self) -> tuple[RowRange, ...]:
        """What passes by word: positions, keys and values, output. A block starts with a word of keys."""
        return self._blocks(self.rows, self.config.max_tokens, self.config.ratio)

    @property
    def embedding(self) -> tuple[RowRange, ...]:
        """Patches, by whole lines of them."""
        return self._blocks(self.batch * self.network.patches, self.config.hidden_words // self.patch_words,
                            self.network.width // self.network.patch)

    @property
    def attention(self) -> tuple[RowRange, ...]:
        """Queries."""
        return self._blocks(self.rows, self.config.hidden_words // (self.heads_words + 2 * self.logit_words))

    @property
    def has_dense(self) -> bool:
        return not all(map(self.network.is_moe, range(self.network.depth)))

    @property
    def dense(self) -> tuple[RowRange, ...]:
        return self._blocks(self.rows, self.config.hidden_words // self.words(self.network.hidden))

    @property
    def moe(self) -> tuple[RowRange, ...]:
        """As long as all of its tokens may choose the same expert, and as its copy finds room."""
        room = (self.config.residual_words - self.copy) // self.dim_words
        return self._blocks(self.rows, min(room, self.config.hidden_words // self.moe_hidden_words))

    @property
    def whole(self) -> bool:
        """No part is cut: behind the embedding a row has the same number in every instruction."""
        parts = [self.whole_rows, self.attention, *([self.dense] if self.has_dense else []),
                 *([self.moe] if self.network.experts else [])]
        return all(len(part) == 1 for part in parts)

    # Residual memory: all rows, and a copy of a MoE block's, which its experts read while they add to the rows.
    @property
    def copy(self) -> int:
        return self.rows * self.dim_words

    @property
    def residual_words(self) -> int:
        return self.copy + (self.moe[0].rows * self.dim_words if self.network.experts else 0)

    # Hidden memory during attention: queries, each replaced by its mixed row, and logits of two products of a head.
    def logits(self, index: int) -> int:
        block = self.attention[0].rows
        return block * self.heads_words + index * block // self.batch * self.logit_words

    @property
    def hidden_words(self) -> int:
        network = self.network
        return max(self.logits(min(self.batch * network.heads, 2)),
                   self.dense[0].rows * self.words(network.hidden) if self.has_dense else 0,
                   self.moe[0].rows * self.moe_hidden_words if network.experts else 0,
                   self.embedding[0].rows * self.patch_words)

    # Key and value memory, words of n_lanes. Tiles of an image may reach into the next image's keys and values: such
    # logits are no valid columns, and such exponentials are 0.
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
        return self.heads_words * self.key_tile_words

    @property
    def kv_words(self) -> int:
        return self.values + self.value_tiles * self.value_tile_words


def reasons_against(network: Network, config: MachineConfig, batch: int = 1) -> list[str]:
    """Why ``batch`` images at a time of ``network`` do not fit ``config``; empty if they do."""
    plan, reasons = Plan(network, config, batch), []

    def limit(what: str, need: int, have: int) -> None:
        if need > have:
            reasons.append(f"{what}: needs {need}, has {have}")

    limit("images of a batch", batch, GROUPS)
    limit("tokens", max(part[0].rows for part in (plan.whole_rows, plan.embedding, plan.attention)), config.max_tokens)
    limit("experts", network.experts, config.max_experts)
    limit("residual memory words", plan.residual_words, config.residual_words)
    limit("hidden memory words", plan.hidden_words, config.hidden_words)
    limit("key and value memory words", plan.kv_words, config.kv_words)
    limit("channels of a token", network.dim, LONGEST_ROW)
    # Keys and values may be anything. What other layers add up is bounded by their own weights (`spec.splits`).
    limit("tokens that a product adds up", network.tokens, LONGEST_SUM)
    limit("patches side by side", network.width // network.patch, _FIELD_MAX["patches_x"])
    limit("pixels of a cell", network.cell, _FIELD_MAX["patch"])
    if batch > 1:
        limit("prefix tokens of a batch", network.prefix_tokens, _FIELD_MAX["gap"])
    return reasons


def check_fit(network: Network, config: MachineConfig, batch: int = 1) -> Plan:
    """The plan, or DoesNotFit with every reason and the nearest configuration that fits."""
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
