# SPDX-License-Identifier: Apache-2.0
"""Each word of the glossary has one row and one meaning; the phrases that it replaces occur nowhere."""

import subprocess
from pathlib import Path

import pytest

from moevit.pages.glossary import forbidden, misuses, read_glossary

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = read_glossary((ROOT / "docs" / "glossary.md").read_text())
#: Files that may use the old words: what was decided and shipped under them, paths of nets as they were placed, and the
#: glossary, which names the words.
HISTORY = ("CHANGELOG.md", "docs/adr/", "docs/ecp5.md", "docs/glossary.md", "tests/docs/test_glossary.py")
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
