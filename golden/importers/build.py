# SPDX-License-Identifier: Apache-2.0
"""Converts a checkpoint of any family into a network of the machine, with a report."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moevit.golden.reference import CheckpointError, load_state
from moevit.golden.reference.checkpoint import HEADS, save
from moevit.spec.networks import ACTIVATION_ERROR, Network, NetworkError

from .draft import Draft, DraftHead
from .errors import ImportFailed, NotProved
from .family import Family, Original
from .fold import normalisation, padding
from .inventory import Inventory
from .libraries import first_line
from .options import RAW, Options, Preprocess
from .positions import resample
from .prove import prove
from .refusals import refuse
from .report import Report
from .source import CheckpointSource, read_source

__all__ = ["Imported", "convert"]

#: dB. The proof fails below it. Equal models agree to 100 dB and more in float32.
_PROVED_DB = 80.0


@dataclass(frozen=True)
class Imported:
    """An imported checkpoint.

    Parameters
    ----------
    network : its shape
    tensors : float32, under the names of `golden.reference`, without heads
    heads : float32, ``heads.<name>.norm.weight``, ``.norm.bias``, ``.fc.weight`` (outputs, inputs), ``.fc.bias``
    host : the host's part: ``preprocess``, ``heads``, ``source`` (docs/formats.md)
    report : the steps of the import
    """

    network: Network
    tensors: dict[str, Tensor]
    heads: dict[str, Tensor]
    host: dict[str, Any]
    report: Report

    def save(self, path: str | PathLike) -> None:
        """Write a moevit checkpoint, which `golden.reference.read` and ``moevit quantise`` read."""
        save(path, load_state(self.network, self.tensors), self.heads, self.host)


def convert(path: str | PathLike, options: Options, choose: Any) -> Imported:
    """Import ``path``. ``choose(source, options)`` returns the `Family`. Raises ImportFailed."""
    report = Report()
    source = _without_left_out(read_source(Path(path), options.state, report), options, report)
    refuse(source.tensors)
    family: Family = choose(source, options)
    inventory = Inventory(source.tensors, family.title, report)
    draft = family.convert(source, inventory, options)
    inventory.missing.check(source.path)
    for pattern in source.other_heads:
        inventory.drop(pattern, "a head that runs neither on the machine nor in the host")
    inventory.close()
    network = _network(source, draft, options)
    report.say("mapped", _shape_text(network))
    tensors = _fitted(draft, network, report)
    heads = _heads(draft, network)
    for name, head in heads.items():
        report.say("host", _head_text(name, head))
    report.say("host", _preprocess_text(_preprocess_for_image(draft, network)))
    if network.activation in ("gelu_tanh", "quick_gelu"):
        report.say("machine", f"{network.activation} by the table of the exact GELU, which differs from it by "
                              f"{ACTIVATION_ERROR[network.activation]} at most")
    _prove(source, family, network, tensors, draft.preprocess or RAW, options, report)
    preprocess = draft.known_host.get("preprocess") or _preprocess(_preprocess_for_image(draft, network))
    host = {"preprocess": preprocess, "heads": {n: _host_head(h) for n, h in heads.items()},
            "source": draft.known_host.get("source")
            or {"file": source.path.name, "family": family.name, "sha256": source.sha256()}}
    return Imported(network, tensors, _head_tensors(heads), host, report)


def _without_left_out(source: CheckpointSource, options: Options, report: Report) -> CheckpointSource:
    """The source without the tensors that ``--leave-out`` names. Raises ImportFailed for a pattern that matches
    nothing."""
    kept = dict(source.tensors)
    for pattern in options.leave_out:
        names = [name for name in kept if fnmatchcase(name, pattern)]
        if not names:
            raise ImportFailed(f"--leave-out {pattern}: no tensor of {source.path} is called so")
        report.say("dropped", f"{names[0]}{f' and {len(names) - 1} more like it' if len(names) > 1 else ''}: "
                              f"left out as --leave-out {pattern} asks")
        kept = {name: value for name, value in kept.items() if name not in names}
    return replace(source, tensors=kept)


def _prove(source: CheckpointSource, family: Family, network: Network, tensors: dict[str, Tensor], how: Preprocess,
           options: Options, report: Report) -> None:
    """Compare the float model with the source's own model, or report why not. Raises ImportFailed if they differ."""
    try:
        model = load_state(network, tensors)
    except CheckpointError as error:
        raise ImportFailed(f"{source.path} as {family.name}: {error}") from error
    try:
        prove(model, _original(source, family, network, options), how, report)
    except NotProved as error:
        report.say("proof", f"not proved: {error}")
    in_both = _options_in_both(source, options)
    if report.proof_db is not None and in_both:
        report.say("proof", f"{in_both} entered both models as you gave it: the proof cannot tell whether it is right")
    if report.proof_db is not None and report.proof_db < _PROVED_DB:
        raise ImportFailed(f"{source.path} as {family.name}: the network does not compute what the source's own model "
                           f"does ({report.proof_db:.0f} dB): check heads, activation and epsilon, or force --family")


def _options_in_both(source: CheckpointSource, options: Options) -> str:
    """The options that the source's own model takes over too, so that the proof cannot check them.

    An ONNX graph needs only the normalisation.
    """
    names = ("normalise", "mean", "std") if source.graph is not None else (
        "normalise", "mean", "std", "heads", "activation", "norm_eps", "top_k", "renormalise")
    return ", ".join(f"{name} {value}" for name in names if (value := getattr(options, name)) is not None)


def _original(source: CheckpointSource, family: Family, network: Network, options: Options) -> Original:
    try:
        if source.graph is not None:
            from .onnx import original  # needs the extra `onnx`
            return original(source.graph, network)
        return family.original(source, network, options)
    except NotProved:
        raise
    except Exception as error:  # an error of another library is no reason to refuse the weights
        raise NotProved(f"the source's own model cannot be made: {first_line(error)}") from error


def _network(source: CheckpointSource, draft: Draft, options: Options) -> Network:
    patch = draft.fields["patch"]
    height, width = options.image or (draft.grid[0] * patch, draft.grid[1] * patch)
    try:
        return Network(name=options.name or draft.name or source.path.stem, height=height, width=width,
                       **{**draft.fields, "final_norm": "norm.weight" in draft.tensors})
    except NetworkError as error:
        raise ImportFailed(str(error)) from error


def _fitted(draft: Draft, network: Network, report: Report) -> dict[str, Tensor]:
    """The tensors in float32, for the network's image and for pixels as the machine reads them (u8 / 256)."""
    tensors = dict(draft.tensors)
    grid = network.height // network.patch, network.width // network.patch
    if grid != draft.grid:
        tensors["pos_embed"] = resample(tensors["pos_embed"], draft.grid, grid, draft.resampling)
        report.say("resampled", f"positions of {draft.grid[0]}x{draft.grid[1]} patches to {grid[0]}x{grid[1]}, bicubic "
                                f"as {draft.resampling.library} does it")
    if draft.preprocess is not None:
        if draft.preprocess.pad:
            prefix = network.prefix_tokens
            tensors["pos_embed"] = tensors["pos_embed"].clone()
            tensors["pos_embed"][:, prefix:] += padding(tensors["patch_embed.proj.weight"], draft.preprocess, grid)
            report.say("folded", "the padding of the patch convolution into the positions of the first row and column")
        weight, bias = "patch_embed.proj.weight", "patch_embed.proj.bias"
        tensors[weight], tensors[bias] = normalisation(tensors[weight], tensors[bias], draft.preprocess)
        report.say("folded", f"mean {_triple(draft.preprocess.mean)}, std {_triple(draft.preprocess.std)} and 256/255 "
                             "into the patch embedding")
    return {name: value if value.dtype == torch.bool else value.float().contiguous()
            for name, value in tensors.items()}


def _heads(draft: Draft, network: Network) -> dict[str, DraftHead]:
    heads = dict(draft.heads)
    if network.final_norm:
        weight, bias = draft.tensors["norm.weight"], draft.tensors["norm.bias"]
        heads = {name: replace(head, norm_weight=weight, norm_bias=bias)
                 if head.norm == "tokens" and head.norm_weight is None else head for name, head in heads.items()}
        heads.setdefault("features", DraftHead(pool="patches", norm="tokens", norm_weight=weight, norm_bias=bias))
    return heads


def _head_tensors(heads: Mapping[str, DraftHead]) -> dict[str, Tensor]:
    parts = {f"{HEADS}{name}.{part}": value for name, head in heads.items() for part, value in (
        ("norm.weight", head.norm_weight), ("norm.bias", head.norm_bias),
        ("fc.weight", head.weight), ("fc.bias", head.bias))}
    return {name: value.float().contiguous() for name, value in parts.items() if value is not None}


def _host_head(head: DraftHead) -> dict[str, Any]:
    return {"pool": head.pool, "norm": head.norm, "task": head.task,
            "classes": None if head.classes is None else list(head.classes)}


def _preprocess_for_image(draft: Draft, network: Network) -> Preprocess:
    """The preprocessing with the shorter side of a resized picture scaled to the network's image."""
    how = draft.preprocess or RAW
    if how.resize is None:
        return how
    crop = how.crop or min(draft.grid) * network.patch
    return replace(how, resize=round(how.resize * min(network.height, network.width) / crop))


def _preprocess(how: Preprocess) -> dict[str, Any]:
    return {"mean": list(how.mean), "std": list(how.std), "resize": how.resize, "interpolation": how.interpolation,
            **({"pad": [how.pad, how.pad]} if how.pad else {})}


def _head_text(name: str, head: DraftHead) -> str:
    norm = {"tokens": "final norm, then ", "pooled": "", "none": ""}[head.norm]
    pool = {"patches": "each patch token", "cls": "CLS", "mean": "the mean of the patch tokens",
            "cls_mean": "CLS and the mean of the patch tokens", "prefix": "all prefix tokens"}[head.pool]
    after = ", normed" if head.norm == "pooled" else ""
    if head.weight is None:
        return f"head {name}: the final norm of every token"
    return f"head {name}: {norm}{pool}{after}, {head.weight.shape[0]} outputs"


def _preprocess_text(how: Preprocess) -> str:
    if how.resize is None:
        return "pictures are brought to the image's size"
    return f"pictures are resized to {how.resize} pixels of the shorter side, {how.interpolation}, cut in the centre"


def _shape_text(network: Network) -> str:
    return (f"{network.depth} blocks of dim {network.dim}, {network.heads} heads of {network.head_dim}, FFN "
            f"{network.hidden}; {network.height}x{network.width} pixels in patches of {network.patch}: "
            f"{network.tokens} tokens, {network.prefix_tokens} of them in front of the patches")


def _triple(values: tuple[float, float, float]) -> str:
    return json.dumps([round(value, 4) for value in values])
