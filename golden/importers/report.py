# SPDX-License-Identifier: Apache-2.0
"""The report of an import, in lines for people."""

from dataclasses import dataclass, field

__all__ = ["KINDS", "Report"]

#: Kinds of notes, in the order of printing.
KINDS = {
    "read": "what was read, and what became of prefixes and element types",
    "mapped": "tensors that have their place in the network",
    "assumed": "what the family's documentation says and no file",
    "folded": "constants moved into weights, exactly",
    "resampled": "positions for another grid",
    "dropped": "tensors that the network does not use",
    "host": "what the host computes around the machine",
    "machine": "what the machine computes in another way",
    "proof": "the float model against the source's own",
}


@dataclass
class Report:
    """Notes by kind, each kind in the order of its notes."""

    notes: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    proof_db: float | None = None  # of the final tokens; None if nothing was compared

    def say(self, kind: str, text: str) -> None:
        """Add a note once. ``kind`` is one of `KINDS`."""
        if text not in self.notes[kind]:
            self.notes[kind].append(text)

    def lines(self) -> list[str]:
        """One line per note: ``folded     LayerScale of 12 blocks ...``."""
        return [f"{kind:<10} {text}" for kind, texts in self.notes.items() for text in texts]

    def __str__(self) -> str:
        return "\n".join(self.lines())
