# SPDX-License-Identifier: Apache-2.0
"""The components of hw/ document themselves in one form, and their files and functions are short.

The form is in CONTRIBUTING.md; ``hw/plumbing/credit.py`` is a short example.
"""

import ast
import dataclasses
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest
from amaranth.lib import wiring

from moevit.spec.arrays import CONFIGS

HW = Path(__file__).resolve().parents[2] / "hw"
FILES = sorted(HW.rglob("*.py"))
CONFIG = dataclasses.replace(CONFIGS["8x8"], trace=True)  # with all optional ports
LABELS = ("Latency", "Throughput", "Back-pressure")
FUNCTION_LINES, FILE_LINES = 60, 250


def components():
    """Every public component of hw/, with its name."""
    for path in FILES:
        name = ".".join(path.relative_to(HW).with_suffix("").parts)
        if path.name == "__init__.py":
            continue
        module = import_module(f"moevit.hw.{name}")
        for each in vars(module).values():
            if (inspect.isclass(each) and issubclass(each, wiring.Component) and each.__module__ == module.__name__
                    and not each.__name__.startswith("_")):
                yield pytest.param(each, id=f"{name}.{each.__name__}")


COMPONENTS = list(components())


def sections(component):
    """The docstring in parts: "" (what it does), "Latency", ..., "Golden" (all without their label), sections."""
    text = inspect.cleandoc(component.__doc__ or "")
    text = re.sub(r"^(\w+)\n-+\n", r"\n[[\1]]\n", text, flags=re.M)
    text = re.sub(rf"^({'|'.join(('Golden', *LABELS))}): ", r"[[\1]]\n", text, flags=re.M)
    head, *parts = re.split(r"^\[\[([\w-]+)\]\]\n", text, flags=re.M)
    assert len(set(parts[::2])) == len(parts[::2]), "each part once"
    return {"": head, **dict(zip(parts[::2], parts[1::2], strict=True))}


def documented(members):
    """{port: In or Out} of a Members section; ``source_0, source_1, ...`` is ``source_*``."""
    found = {}
    for entry in re.split(r"\n(?=\S)", members.strip()):
        heading = re.match(r"([\w, .]+?) : (In|Out)\(.+\n( {4}.*\S.*(\n|$))+", entry + "\n")
        assert heading, f"not `name : In(...)` or `name : Out(...)` and an indented meaning:\n{entry}"
        names = heading[1].split(", ")
        if names[-1] == "...":
            names = [re.sub(r"\d+$", "*", names[0])]
        found |= dict.fromkeys(names, heading[2])
    return found


def direction(value):
    """In or Out of ``In(...)``, ``Out(...)`` and ``Out(...).array(...)`` in the source."""
    if isinstance(value.func, ast.Attribute):
        value = value.func.value
    return value.func.id


def written(component):
    """{port: In or Out} from the source of the class and its bases: annotations, dictionaries for the constructor."""
    found = {}
    for base in component.__mro__:
        if issubclass(base, wiring.Component) and base is not wiring.Component:
            tree = ast.parse(inspect.getsource(base)).body[0]
            found |= {node.target.id: direction(node.annotation) for node in tree.body
                      if isinstance(node, ast.AnnAssign) and isinstance(node.annotation, ast.Call)}
            for node in ast.walk(tree):
                if (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "__init__"
                        and node.args and isinstance(node.args[0], ast.Dict)):
                    for key, value in zip(node.args[0].keys, node.args[0].values, strict=True):
                        if key is not None:
                            found[key.value] = direction(value)
                        else:  # **{f"source_{index}": In(...) for index in ...}
                            found[value.key.values[0].value + "*"] = direction(value.value)
    return found


def made(component):
    """An instance, if its constructor needs nothing but a configuration."""
    needed = [each for each in inspect.signature(component).parameters.values() if each.default is each.empty]
    return component(*[CONFIG] * len(needed)) if all(each.name == "config" for each in needed) else None


def ports(component):
    """{port: In or Out} of its signature, numbered ports as one."""
    instance = made(component)
    if instance is None:
        return written(component)
    return {re.sub(r"_\d+$", "_*", name): member.flow.name for name, member in instance.signature.members.items()}


def found(path):
    """What ``golden.integer.x`` or ``spec.isa.y`` names: a module, or something in one."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        try:
            value = import_module(".".join(["moevit", *parts[:end]]))
        except ModuleNotFoundError:
            continue
        for name in parts[end:]:
            value = getattr(value, name)
        return value
    raise ImportError(path)


@pytest.mark.parametrize("component", COMPONENTS)
def test_form(component, unused_allowed):
    parts = sections(component)
    takes = list(inspect.signature(component).parameters) if "__init__" in vars(component) else []
    order = [*LABELS, *(["Parameters"] if takes else []), "Members"]
    assert [name for name in parts if name in order] == order
    assert parts[""].strip().split("\n\n")[0].endswith((".", ":")), "begins with a sentence"
    for name in takes:
        assert re.search(rf"^([\w, ]+, )?{name}(, [\w, ]+)? : \S", parts["Parameters"], re.M), f"parameter {name}"
    members = documented(parts["Members"])
    assert {re.sub(r"_\d+$", "_*", name): flow for name, flow in members.items()} == ports(component)


@pytest.mark.parametrize("component", COMPONENTS)
def test_golden_exists(component):
    text = sections(component).get("Golden")
    if text is not None:
        names = re.findall(r"``((?:golden|spec)\.[\w.]+)``", text)
        assert names or "numpy" in text, "names what it equals"
        for name in names:
            assert found(name)


@pytest.mark.parametrize("component", COMPONENTS)
def test_latency_is_an_attribute_with_the_number_that_the_text_gives(component, unused_allowed):
    text, instance = sections(component)["Latency"], made(component)
    source = "".join(inspect.getsource(base) for base in component.__mro__ if base.__module__.startswith("moevit"))
    for name in re.findall(r"`(latency\w*)`", text):
        assert hasattr(component, name) or f"self.{name} = " in source, f"{name} is no attribute"
    for number, name in re.findall(r"(?<!\+ )\b(\d+) cycles?\b[^;.(]*\(`(latency\w*)`\)", text.replace("\n", " ")):
        value = getattr(component if instance is None else instance, name)
        assert not isinstance(value, int) or value == int(number), f"{name} is {value}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(HW).as_posix())
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < FUNCTION_LINES, node.name
    assert "LATENCY" not in text


class Example(wiring.Component):
    """Says nothing of its ports.

    Latency: 3 cycles from ``i`` to ``o`` (`latency`).
    Throughput: one word per cycle.
    Back-pressure: none.

    Members
    -------
    i : In(1)
        a bit
    """

    latency = 2
    i: wiring.In(1)
    o: wiring.Out(1)


@pytest.mark.parametrize(("test", "message"), [
    (test_form, "'o'"), (test_latency_is_an_attribute_with_the_number_that_the_text_gives, "latency is 2")])
def test_what_is_missing_is_found(test, message, unused_allowed):
    with pytest.raises(AssertionError, match=message):
        test(Example, *[None] * (len(inspect.signature(test).parameters) - 1))
