# SPDX-License-Identifier: Apache-2.0
"""The components of the hardware, found by elaborating whole cores: their ports and their docstrings."""

import importlib
import inspect
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from amaranth.hdl import Elaboratable, Module, UnusedElaboratable
from amaranth.lib import wiring

import moevit.hw
from moevit.hw.top import Core
from moevit.spec.arrays import CONFIGS

__all__ = ["CORES", "Docstring", "HardwareComponent", "components"]

#: Together they have every component: one bus port and several, three sweeps of a gate and two, both kinds of lanes.
CORES = (CONFIGS["8x8"], replace(CONFIGS["8x16"], packed=False))
_LABELS = ("Golden", "Latency", "Throughput", "Back-pressure")


@dataclass
class Docstring:
    """The parts of a component's docstring."""

    first: str
    paragraphs: list[str]
    labels: dict[str, str]
    members: dict[str, tuple[str, str]]

    @classmethod
    def of(cls, text: str) -> "Docstring":
        head, *sections = re.split(r"\n(\w+)\n-+\n", "\n" + inspect.cleandoc(text) + "\n")
        paragraphs = [part.strip("\n") for part in re.split(r"\n\s*\n", head) if part.strip()]
        found = dict(zip(sections[::2], sections[1::2], strict=True))
        labels: dict[str, str] = {}
        plain = []
        for part in paragraphs[1:]:
            pieces = re.split(rf"(?m)^({'|'.join(_LABELS)}): ", part)
            if pieces[0].strip():
                plain.append(pieces[0].strip("\n"))
            labels |= {name: " ".join(said.split()) for name, said in zip(pieces[1::2], pieces[2::2], strict=True)}
        members: dict[str, tuple[str, str]] = {}
        for name, said in re.findall(r"(?m)^(\w[\w, .]*) : (.*(?:\n[ \t]+.*)*)", found.get("Members", "")):
            members |= {each.strip(): _split(" ".join(said.split())) for each in name.split(",") if each.strip(" .")}
        return cls(" ".join(paragraphs[0].split()) if paragraphs else "", plain, labels, members)


def _split(text: str) -> tuple[str, str]:
    """``In(1), what it means`` in two; the signature is empty where the text does not begin with one."""
    if not text.startswith(("In(", "Out(")):
        return "", text
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == ")" and not depth:
            return text[:place + 1], re.sub(r"^(an array of \w+) ", r"\1: ", text[place + 1:].lstrip(", "))
    return "", text


@dataclass
class HardwareComponent:
    """A component class: its file, its docstring, its ports (name, whether it goes in), the classes in it."""

    name: str
    file: str
    doc: Docstring
    ports: dict[str, bool] = field(default_factory=dict)
    inside: list[str] = field(default_factory=list)


def components() -> dict[str, HardwareComponent]:
    """All public components of ``hw``, by class name, in the order of their files."""
    found: dict[str, HardwareComponent] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)
        for config in CORES:
            _walk(Core(config), found)
    missing = [each.__name__ for each in _classes() if each.__name__ not in found]
    if missing:
        raise ValueError(f"no core of {', '.join(config.name for config in CORES)} has {', '.join(missing)}")
    return dict(sorted(found.items(), key=lambda item: item[1].file))


def _classes() -> Iterator[type]:
    root = Path(next(iter(moevit.hw.__path__)))
    for path in sorted(root.rglob("*.py")):
        module = importlib.import_module(".".join(("moevit.hw", *path.relative_to(root).with_suffix("").parts)))
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if inspect.isclass(value) and issubclass(value, wiring.Component) and value.__module__ == module.__name__:
                yield value


def _part(each: type) -> HardwareComponent:
    file = each.__module__.removeprefix("moevit.").replace(".", "/") + ".py"
    return HardwareComponent(each.__name__, file, Docstring.of(each.__doc__ or ""))


def _walk(unit: Any, found: dict[str, HardwareComponent]) -> list[str]:
    """Note ``unit`` and all in it; the names of the component classes that it is, or that are directly in it."""
    unit = getattr(unit, "_elaboratable_", unit)  # under a ResetInserter
    inside = list(dict.fromkeys(name for each in _submodules(unit) for name in _walk(each, found)))
    if not isinstance(unit, wiring.Component):
        return inside
    name = type(unit).__name__
    if name.startswith("_") or not type(unit).__module__.startswith("moevit.hw"):
        return inside
    part = found.setdefault(name, _part(type(unit)))
    part.ports |= {port: member.flow is wiring.In for port, member in unit.signature.members.items()}
    part.inside += [each for each in inside if each not in part.inside and each != name]
    return [name]


def _submodules(unit: Elaboratable) -> Iterator[Any]:
    made = unit if isinstance(unit, Module) else unit.elaborate(None)
    if isinstance(made, Module):
        yield from (each for each, *_ in made._named_submodules.values())
        yield from (each for each, *_ in made._anon_submodules)
