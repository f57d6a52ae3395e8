# SPDX-License-Identifier: Apache-2.0
"""Each word of the glossary has one row and one meaning; the phrases that it replaces occur nowhere."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from moevit.pages.glossary import forbidden, misuses, read_glossary

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = read_glossary((ROOT / "docs" / "glossary.md").read_text())
#: Files that may use the old words: what was decided and shipped under them, paths of nets as they were placed, and the
#: glossary, which names the words.
HISTORY = ("CHANGELOG.md", "docs/adr/", "docs/ecp5.md", "docs/glossary.md", "tests/docs/test_glossary.py")
#: Words that no row may be missing for.
WORDS = """access, beat, block, burst, class, configuration, core, credit, digit, expert, FIFO, flow, frame,
instruction, lane, machine, pass, peak, queue, region, row, run, scale, slot, stage, step, stream, stripe, sweep, tag,
tile, word"""
#: Words that only some folders of hw/ may use in identifiers. `access` is also the spec's word for what the host may do
#: with a register.
ROOMS = {"step": (), "slot": ("writer/",), "access": ("reader/", "bus/registers.py")}
#: Names that no port has: each says only what kind of thing it is, or is an old name.
NO_PORTS = {"stream", "sequencer", "walk"}
SUFFIXES = {".py", ".md", ".sv", ".cpp", ".tcl", ".toml", ".ipynb"}


def looked_at() -> list[Path]:
    """The texts of the repository: what git has, or in an archive without it, all below the known folders."""
    try:
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
        names = listed.stdout.split("\n")
    except (OSError, subprocess.CalledProcessError):
        names = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*")
                 if not {".venv", "build", ".git"} & set(path.relative_to(ROOT).parts)]
    texts = [name for name in names if name == "Makefile" or Path(name).suffix in SUFFIXES]
    return [ROOT / name for name in texts if not name.startswith(HISTORY) and (ROOT / name).is_file()]


def test_each_word_once_and_in_order():
    words = [entry.word.lower() for entry in GLOSSARY]
    assert words == sorted(set(words)), "alphabetical, each word once"
    assert all(entry.meaning for entry in GLOSSARY)


def test_no_phrase_is_both_word_and_forbidden():
    words = {entry.word.lower() for entry in GLOSSARY}
    assert not words & {phrase.lower() for entry in GLOSSARY for phrase in entry.replaces}


def test_forbidden_phrases_occur_nowhere():
    patterns = forbidden(GLOSSARY)
    found = [each for path in looked_at() for each in misuses(path, patterns)]
    assert not found, f"{len(found)} phrases that the glossary replaces:\n" + "\n".join(found)


@pytest.mark.parametrize("text", ["a block of\n    rows", "Blocks of rows", "a block of\n# rows"])
def test_a_phrase_is_found_across_lines(tmp_path, text):
    path = tmp_path / "a.py"
    path.write_text(text)
    assert list(misuses(path, forbidden(GLOSSARY)))


def missing(entries) -> set[str]:
    """Words of `WORDS` without a row."""
    return set(re.split(r",\s+", WORDS)) - {entry.word for entry in entries}


def test_each_word_of_the_project_has_a_row():
    assert not missing(GLOSSARY)


@pytest.mark.parametrize("word", ["tile", "FIFO"])
def test_a_deleted_row_is_missed(word):
    assert word in missing([entry for entry in GLOSSARY if entry.word != word])


def identifiers(tree: ast.AST) -> set[str]:
    """Names of a file: variables, attributes, arguments, functions, classes, ports."""
    fields = ("id", "attr", "arg", "name", "asname")
    found = {getattr(node, field, None) for node in ast.walk(tree) for field in fields}
    return {name for name in found if isinstance(name, str)} | ports(tree)


def ports(tree: ast.AST) -> set[str]:
    """Names of ports and of fields: keys of dictionaries, annotated names of a class."""
    keys = {key.value for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys
            if isinstance(key, ast.Constant) and isinstance(key.value, str)}
    return keys | {node.target.id for node in ast.walk(tree)
                   if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}


def strangers(path: str, text: str) -> set[str]:
    """Identifiers in ``path`` below hw/ that use a word of another room, and ports with a forbidden name."""
    tree = ast.parse(text)
    bound = [word for word, rooms in ROOMS.items() if not path.startswith(rooms)]
    return {name for name in identifiers(tree) if set(name.split("_")) & set(bound)} | ports(tree) & NO_PORTS


def test_words_of_a_room_stay_there():
    hw = ROOT / "hw"
    found = {path.relative_to(hw).as_posix(): strangers(path.relative_to(hw).as_posix(), path.read_text())
             for path in sorted(hw.rglob("*.py"))}
    assert not {path: names for path, names in found.items() if names}


@pytest.mark.parametrize(("path", "text", "name"), [
    ("bus/a.py", "ports = {'step': In(1)}", "step"),
    ("array/a.py", "step_count = 1", "step_count"),
    ("writer/a.py", "def f(step): pass", "step"),
    ("reader/a.py", "self.slot.eq(1)", "slot"),
    ("reader/a.py", "for slot in x: pass", "slot"),
    ("writer/a.py", "def access_layout(): pass", "access_layout"),
    ("writer/a.py", "from x import access_layout", "access_layout"),
    ("control/a.py", "ports = {'walk': Out(1)}", "walk"),
    ("control/a.py", "class A:\n    stream: In(1)", "stream"),
])
def test_a_word_in_a_wrong_room_is_found(path, text, name):
    assert strangers(path, text) == {name}


@pytest.mark.parametrize(("path", "text"), [
    ("writer/a.py", "slot.first.eq(1)"), ("reader/a.py", "access_layout()"), ("control/a.py", "walk = ProgramWalk()"),
    ("bus/registers.py", "register.access"), ("math/a.py", "steps = 3"),
])
def test_a_word_in_its_room_is_allowed(path, text):
    assert not strangers(path, text)
