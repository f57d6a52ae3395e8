# SPDX-License-Identifier: Apache-2.0
"""Makes a bundle of steps: lays the payloads out in the order of their use, encodes the program, writes the manifest.
"""

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from moevit.spec.arrays import MachineConfig
from moevit.spec.bundle import Bundle
from moevit.spec.heads import check_heads
from moevit.spec.isa import Opcode, Region, encode
from moevit.spec.quantised import QuantisedModel, QuantisedModelError

from .builder import Payload, Step
from .deadline import deadline_cycles
from .plan import check_fit
from .steps import schedule

__all__ = ["compile_model"]

PAGE = 4096  # the gates of a task start on a page, so that people can read the register


def compile_model(model: QuantisedModel, config: MachineConfig, heads: dict[str, np.ndarray] | None = None,
                  batch: int = 1, speculate: int | None = None) -> Bundle:
    """Compile ``model`` for one configuration and ``batch`` images at a time.

    ``speculate``: experts fetched early in every MoE block; left out, as many as the model says for each. ``heads``:
    arrays of heads, one for each task that has one, instead of the model's own heads.

    Raises DoesNotFit, QuantisedModelError, HeadError.
    """
    host = model.host if heads is None else {key: value for key, value in model.host.items() if key != "heads"}
    heads = model.heads if heads is None else heads
    check_heads(model.network, heads, host)
    plan = check_fit(model.network, config, batch)
    if speculate is not None:
        model = _speculating(model, speculate)
    steps = schedule(model, plan)
    tasks = len(model.network.tasks)
    weights, gates = bytearray(), [bytearray() for _ in range(tasks)]
    placed: dict[Payload, dict[str, int]] = {}
    words, entries = [], []
    for step in steps:
        if step.payload and step.payload not in placed:
            placed[step.payload] = _place(step.payload, step, config, weights, gates)
        words.append(encode(**{**step.fields, **(placed[step.payload] if step.payload else {})}))
        entries.append(_entry(step, model))
    stride = max(PAGE, -(-len(gates[0]) // PAGE) * PAGE)
    network = model.network
    manifest: dict[str, Any] = {
        "network": asdict(network),
        "config": config.name,
        "config_hash": config.hash,
        "bus_bytes": config.bus_bytes,
        "batch": batch,
        "deadline_cycles": deadline_cycles(steps, network, config, batch),
        "tasks": list(network.tasks),
        "gate_stride": stride,
        "image": {"height": network.height, "width": network.width, "patch": network.patch, "cell": network.cell},
        "output": {"tokens": network.tokens, "words": plan.dim_words, "lanes": config.k_lanes, "dim": network.dim,
                   "fraction": model.residual_fraction},
        "instructions": entries,
        "host": host,
    }
    return Bundle(manifest, np.concatenate(words).astype("<u4").tobytes(), bytes(weights),
                  b"".join(bytes(task.ljust(stride, b"\0")) for task in gates), heads)


def _entry(step: Step, model: QuantisedModel) -> dict[str, Any]:
    """The manifest's entry of ``step`` (`spec.manifest.ENTRY_KEYS`)."""
    entry = {"name": step.name, "opcode": Opcode(step.fields["opcode"]).name, "part": step.part.value,
             "block": step.block, "macs_per_row": step.macs}
    if step.head is not None:
        entry["head"] = step.head
    if step.fields.get("queued"):
        entry["experts"] = model[f"blocks.{step.block}.moe.order"].tolist()
    return entry


def _speculating(model: QuantisedModel, experts: int) -> QuantisedModel:
    """``model`` with ``experts`` fetched early in every MoE block."""
    if not 0 <= experts <= model.network.experts:
        raise QuantisedModelError(f"{model.network.name} has {model.network.experts} experts, "
                                  f"{experts} cannot be fetched early")
    blocks = filter(model.network.is_moe, range(model.network.depth))
    early = {f"blocks.{block}.moe.speculate": np.array(experts, np.uint8) for block in blocks}
    return replace(model, tensors={**model.tensors, **early})


def _place(payload: Payload, step: Step, config: MachineConfig, weights: bytearray,
           gates: list[bytearray]) -> dict[str, int]:
    """Append the bytes of ``payload``, which ``step`` is the first to take, and return the fields that say where."""
    beats, rest = divmod(payload.size, config.bus_bytes)
    copies = [payload.pack(index) for index in range(payload.count)]
    assert not rest and {len(copy) for copy in copies} == {payload.size}, step.name
    if step.fields["region"] == Region.GATES:
        offset = len(gates[0])
        for gate, copy in zip(gates, copies, strict=True):
            gate += copy
        return {"region_offset": offset, "region_beats": beats}
    offset = len(weights)
    for copy in copies:
        weights += copy
    experts = {"expert_beats": beats} if payload.count > 1 else {}
    return {"region_offset": offset, "region_beats": beats, **experts}
