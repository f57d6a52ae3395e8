# SPDX-License-Identifier: Apache-2.0
"""Published accelerators for M3ViT-tiny, with the figures that their papers, or papers that compare them, print."""

from typing import NamedTuple

__all__ = ["PEERS", "Peer"]


class Peer(NamedTuple):
    """A published accelerator, measured on a board, one frame at a time.

    ``dsp``: all slices of the design; None if it is not printed. ``watts``: as printed; papers differ in what they
    measure.
    """

    name: str
    board: str
    clock_mhz: int
    bits: str
    dsp: int | None
    ms: float
    watts: float
    source: str

    @property
    def millijoules(self) -> float:
        """Energy of a frame."""
        return self.watts * self.ms


PEERS = (
    Peer("Edge-MoE", "ZCU102", 300, "W16 A32", None, 34.64, 14.54,
         "[arXiv 2305.18691](https://arxiv.org/abs/2305.18691); its ms and watts as printed in UbiMoE's table II"),
    Peer("UbiMoE", "ZCU102", 300, "W16 A32", 1850, 25.76, 11.50,
         "[arXiv 2502.05602](https://arxiv.org/abs/2502.05602), table II"),
    Peer("CoQMoE", "ZCU102", 300, "INT8", 1754, 6.47, 9.83,
         "[arXiv 2506.08496](https://arxiv.org/abs/2506.08496), table 3; its DSPs are those of the design that the "
         "paper labels ViT-tiny"),
)
