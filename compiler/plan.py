# SPDX-License-Identifier: Apache-2.0
"""The memory plan: where each tensor of a network lies in the row memories, and whether it fits at all."""

from dataclasses import dataclass

from moevit.spec.arrays import CONFIGS, MachineConfig
from moevit.spec.formats import ACCUMULATOR_BITS, OPERAND_MAX, WEIGHT_MAX
from moevit.spec.isa import GROUPS
from moevit.spec.networks import Network

__all__ = ["DoesNotFit", "Plan", "ceil_div", "check_fit", "reasons_against"]


class DoesNotFit(ValueError):
    """A network that an array configuration cannot hold; says why, and the nearest one that can."""


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(frozen=True)
class Plan:
    """Sizes in words and tiles of ``network`` on ``config``; word addresses of each region.

    The rows of ``batch`` images lie one image after the other, in every memory. A head is padded to whole words among
    queries and keys and to whole tiles among values, so that each head's pass starts on a boundary. Padded lanes hold
    zeros.
    """

    network: Network
    config: MachineConfig
    batch: int = 1

    @property
    def rows(self) -> int:
        """Tokens of all images."""
        return self.batch * self.network.tokens

    # Widths of a row, in words of k_lanes.
    @property
    def dim_words(self) -> int:
        return ceil_div(self.network.dim, self.config.k_lanes)

    @property
    def head_words(self) -> int:
        return ceil_div(self.network.head_dim, self.config.k_lanes)

    @property
    def heads_words(self) -> int:
        return self.network.heads * self.head_words

    @property
    def logit_words(self) -> int:
        return ceil_div(self.network.tokens, self.config.k_lanes)

    @property
    def patch_words(self) -> int:
        return ceil_div(self.network.patch_values, self.config.k_lanes)

    # Residual memory.
    def residual(self, index: int) -> int:
        """Base of residual buffer 0 or 1; a MoE block reads one and accumulates its experts in the other."""
        return index * self.rows * self.dim_words

    @property
    def residual_words(self) -> int:
        return self.residual(2 if self.network.experts else 1)

    # Hidden memory during attention: queries, mixed rows, logits of two products of a head and an image.
    @property
    def mixed(self) -> int:
        return self.rows * self.heads_words

    def logits(self, index: int) -> int:
        return 2 * self.mixed + index * self.network.tokens * self.logit_words

    @property
    def hidden_words(self) -> int:
        network, lanes = self.network, self.config.k_lanes
        widest = max(network.hidden, network.expert_hidden)
        return max(self.logits(min(self.batch * network.heads, 2)), self.rows * ceil_div(widest, lanes),
                   self.batch * network.patches * self.patch_words)

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
    def head_value_tiles(self) -> int:
        return ceil_div(self.network.head_dim, self.config.n_lanes)

    @property
    def values(self) -> int:
        return self.heads_words * self.key_tile_words

    @property
    def kv_words(self) -> int:
        return self.values + self.network.heads * self.head_value_tiles * self.value_tile_words


def reasons_against(network: Network, config: MachineConfig, batch: int = 1) -> list[str]:
    """Why ``batch`` images at a time of ``network`` do not fit ``config``; empty if they do."""
    plan, reasons = Plan(network, config, batch), []

    def limit(what: str, need: int, have: int) -> None:
        if need > have:
            reasons.append(f"{what}: needs {need}, has {have}")

    limit("images of a batch", batch, GROUPS)
    limit("tokens", plan.rows, config.max_tokens)
    limit("experts", network.experts, config.max_experts)
    limit("residual memory words", plan.residual_words, config.residual_words)
    limit("hidden memory words", plan.hidden_words, config.hidden_words)
    limit("key and value memory words", plan.kv_words, config.kv_words)
    longest = max(network.hidden, network.expert_hidden, network.dim, network.patch_values)
    limit(f"accumulator (k = {longest})", longest * OPERAND_MAX * WEIGHT_MAX, (1 << (ACCUMULATOR_BITS - 1)) - 1)
    if 3 * network.patch % 8:
        reasons.append(f"patch {network.patch}: three bytes times its width must be a multiple of 8 bytes")
    pixels = 3 * batch * network.height * network.width
    if pixels % config.bus_bytes:
        reasons.append(f"{pixels} bytes of images are not a multiple of the bus's {config.bus_bytes}")
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
