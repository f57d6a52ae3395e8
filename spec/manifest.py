# SPDX-License-Identifier: Apache-2.0
"""The manifest of a bundle: what the host must know of the network, of its instructions, and of where things lie."""

from collections.abc import Mapping
from typing import Any

from .isa import GROUPS
from .parts import EXPERT_PARTS, OPCODES, Part

__all__ = ["ENTRY_KEYS", "MANIFEST_KEYS", "check_manifest"]

#: What a manifest must hold.
MANIFEST_KEYS = ("network", "config", "config_hash", "bus_bytes", "batch", "deadline_cycles", "tasks", "gate_stride",
                 "image", "output", "instructions", "host")
#: What each entry of ``instructions`` must hold. It may hold ``head`` and ``experts`` besides; `EXPERT_PARTS` must hold
#: ``experts``.
ENTRY_KEYS = ("name", "opcode", "part", "block", "macs_per_row")
_PARTS = [part.value for part in Part]  # a list: a value may be unhashable
#: Smallest and largest value of each integer, by path.
_INTEGERS = {
    ("config_hash",): (0, (1 << 32) - 1), ("bus_bytes",): (1, 64), ("batch",): (1, GROUPS),
    ("deadline_cycles",): (1, (1 << 40) - 1), ("gate_stride",): (1, 1 << 32),
    ("image", "height"): (1, 1 << 16), ("image", "width"): (1, 1 << 16),
    ("image", "patch"): (1, 255), ("image", "cell"): (1, 256),
    ("output", "tokens"): (1, 1 << 12), ("output", "words"): (1, 1 << 12), ("output", "lanes"): (1, 64),
    ("output", "dim"): (1, 1 << 16), ("output", "fraction"): (0, 30),
}


def check_manifest(manifest: Any, program_length: int, gate_bytes: int) -> str:
    """What is wrong with ``manifest`` beside a program of ``program_length`` instructions; "" if nothing is.

    An extra key is no error: a later version may say more.

    - ``image``: pixels of an image, of a patch, and of the cell that a patch is laid in (`spec.cells`).
    - ``host``: what the host does around the machine (`QuantisedModel.host`).
    - ``deadline_cycles``: a run that takes longer is stuck, even on a memory far slower than any board's.
    - ``instructions``: an entry for each. ``part`` is a value of `Part`, ``opcode`` the one that `OPCODES` has for it.
      ``block`` is the number of the transformer block or null, ``head`` the attention head of a logit or mix pass.
      ``experts`` has the checkpoint's number of each of the machine's experts, for an instruction of an expert loop.
      ``name`` is for people. Blocks, heads and experts are counted by ``network``, where it says how many there are.

    ``gate_bytes``: length of the gates of all tasks.
    """
    if not isinstance(manifest, Mapping):
        return "is not an object"
    missing = [key for key in MANIFEST_KEYS if key not in manifest]
    if missing:
        return f"lacks {', '.join(missing)}"
    for path, (least, most) in _INTEGERS.items():
        value: Any = manifest
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if type(value) is not int or not least <= value <= most:
            return f"has {'.'.join(path)} = {value!r}, it must be an integer of {least}..{most}"
    if not isinstance(manifest["network"], Mapping):
        return f"has network = {manifest['network']!r}, it must be an object"
    tasks, output, entries = manifest["tasks"], manifest["output"], manifest["instructions"]
    if not isinstance(manifest["config"], str):
        return f"has config = {manifest['config']!r}, it must be a name"
    if not isinstance(tasks, list) or not tasks or not all(isinstance(task, str) for task in tasks):
        return f"has tasks = {tasks!r}, it must be a list of names"
    if len(set(tasks)) != len(tasks) or len(tasks) * manifest["gate_stride"] != gate_bytes:
        return f"has {len(tasks)} tasks ({', '.join(tasks)}) of {manifest['gate_stride']} bytes, " \
               f"the gates are {gate_bytes} bytes"
    wrong = _wrong_image(manifest["image"]) or _wrong_host(manifest["host"])
    if wrong:
        return wrong
    if output["dim"] > output["words"] * output["lanes"]:
        return f"has output.dim = {output['dim']} in {output['words']} words of {output['lanes']}"
    if not isinstance(entries, list) or len(entries) != program_length:
        return f"does not name the {program_length} instructions of the program"
    return next((f"has instruction {index} {wrong}" for index, entry in enumerate(entries)
                 if (wrong := _wrong_entry(entry, manifest["network"]))), "")


def _wrong_entry(entry: Any, network: Mapping[str, Any]) -> str:
    """`Network.from_fields` checks ``network`` itself; a count that is no integer limits nothing here."""
    if not isinstance(entry, Mapping):
        return f"= {entry!r}, it must be an object"
    missing = [key for key in ENTRY_KEYS if key not in entry]
    if missing:
        return f"without {', '.join(missing)}"
    if entry["part"] not in _PARTS:
        return f"with part = {entry['part']!r}, it must be a part that spec.parts knows"
    part = Part(entry["part"])
    if part in EXPERT_PARTS and "experts" not in entry:
        return f"without experts, which part {part.value} needs"
    block, head, order = entry["block"], entry.get("head", 0), entry.get("experts")
    checks = (
        ("name", isinstance(entry["name"], str), "a string"),
        ("opcode", entry["opcode"] == OPCODES[part].name, f"{OPCODES[part].name} for part {part.value}"),
        ("block", part not in EXPERT_PARTS if block is None else _below(block, network.get("depth")),
         "the number of a block of the network" + ("" if part in EXPERT_PARTS else ", or null")),
        ("head", _below(head, network.get("heads")), "the number of a head of the network"),
        ("macs_per_row", type(entry["macs_per_row"]) is int, "an integer"),
        ("experts", "experts" not in entry or _is_order(order, network.get("experts")),
         "the number of each expert of the network, once"),
    )
    return next((f"with {key} = {entry[key]!r}, it must be {wanted}" for key, right, wanted in checks if not right), "")


def _below(number: Any, count: Any) -> bool:
    return type(number) is int and number >= 0 and (type(count) is not int or number < count)


def _is_order(order: Any, count: Any) -> bool:
    return (isinstance(order, list) and all(type(number) is int for number in order)
            and sorted(order) == list(range(count if type(count) is int else len(order))))


def _wrong_image(image: Mapping[str, int]) -> str:
    patch, cell = image["patch"], image["cell"]
    if image["height"] % patch or image["width"] % patch or cell < patch:
        return f"has images of {image['height']} x {image['width']} pixels with patches of {patch} in cells of {cell}"
    return ""


def _wrong_host(host: Any) -> str:
    """`spec.heads` checks the heads themselves, with their arrays."""
    heads = host.get("heads", {}) if isinstance(host, Mapping) else None
    if not isinstance(heads, Mapping) or not all(isinstance(head, Mapping) for head in heads.values()):
        return "has host that is not an object whose heads are objects, by name"
    return ""
