# SPDX-License-Identifier: Apache-2.0
"""Help for writing pipelines: signals are named once and read at any later stage."""

from collections.abc import Callable, Sequence
from functools import reduce

from amaranth import *
from amaranth.hdl import ValueLike

__all__ = ["Timeline", "tree", "tree_stages"]


class Timeline:
    """Signals by name and stage. `at` delays a signal from its own stage to a later one; its registers are shared.

    The registers are in a submodule of ``m``, so that `at` may be used under any condition.
    """

    def __init__(self, m: Module):
        m.submodules.pipe = self._m = Module()
        self._chains: dict[str, tuple[int, list, bool]] = {}

    def put(self, stage: int, *, reset: bool = False, **values: ValueLike) -> None:
        """Name ``values``, which are there in ``stage``. With ``reset``, a reset clears their registers."""
        for name, value in values.items():
            if name in self._chains:
                raise ValueError(f"the pipeline has already a signal called {name!r}")
            self._chains[name] = stage, [value], reset

    def at(self, stage: int, name: str):
        """The signal called ``name`` as it is seen in ``stage``."""
        start, chain, reset = self._chains[name]
        if stage < start:
            raise ValueError(f"{name!r} is not there before stage {start}, so not in {stage}")
        while len(chain) <= stage - start:
            register = Signal(chain[-1].shape(), name=f"{name}_{start + len(chain)}", reset_less=not reset)
            self._m.d.sync += register.eq(chain[-1])
            chain.append(register)
        return chain[stage - start]


def _stages(leaves: int, levels: int, first: int | None) -> list[int]:
    """Levels of the tree in each of its stages."""
    depth = (leaves - 1).bit_length()
    first = levels if first is None else first
    return [first] + [min(levels, depth - done) for done in range(first, depth, levels)]


def tree_stages(leaves: int, levels: int = 2, first: int | None = None) -> int:
    """Pipeline stages of a binary tree over ``leaves``: ``levels`` of it per stage, ``first`` in the first one."""
    return len(_stages(leaves, levels, first))


def tree(m: Module, leaves: Sequence[Value], combine: Callable, name: str, levels: int = 2,
         first: int | None = None) -> Value:
    """``leaves`` combined in pairs, with registers after every stage (`tree_stages`).

    A leaf without a partner goes to the next level as it is.
    """
    for stage, depth in enumerate(_stages(len(leaves), levels, first)):
        for _ in range(depth):
            leaves = [reduce(combine, leaves[at:at + 2]) for at in range(0, len(leaves), 2)]
        registers = [Signal(leaf.shape(), name=f"{name}_{stage}_{index}", reset_less=True)
                     for index, leaf in enumerate(leaves)]
        m.d.sync += [register.eq(leaf) for register, leaf in zip(registers, leaves, strict=True)]
        leaves = registers
    return leaves[0]
