# SPDX-License-Identifier: Apache-2.0
"""The page of ``moevit run --report`` and ``moevit build --report``: what it says, and that everybody can read it."""

import re
import subprocess
import sys
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from typer.testing import CliRunner

from moevit.cli import run as command
from moevit.cli.app import app
from moevit.cli.page import _warnings
from moevit.compiler.assemble import compile_model
from moevit.spec.arrays import CONFIGS

from ..conftest import model_of, random_image
from ..report.accessibility import problems

SECTIONS = ["Load, compute and write over time", "Roofline", "Where the cycles went", "Tokens of each expert",
            "Which patch goes to which expert", "Where attention looks", "What the integers lose",
            "Memories and slices", "Predicted and measured cycles", "Provenance"]


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"})


@pytest.fixture
def folder(tmp_path):
    """A bundle with its quantised model beside it, and a picture."""
    model = model_of("tiny_test")
    model.save(tmp_path / "tiny.npz")
    compile_model(model, CONFIGS["8x8"]).save(tmp_path / "tiny.bundle")
    np.save(tmp_path / "picture.npy", random_image("tiny_test"))
    return tmp_path


def page_of(folder, *arguments) -> str:
    done = run("run", folder / "tiny.bundle", folder / "picture.npy", "--report", folder / "page.html", *arguments)
    assert done.exit_code == 0, done.output
    return (folder / "page.html").read_text()


def test_the_golden_machine_keeps_no_time_and_the_page_says_so(folder, monkeypatch):
    monkeypatch.setattr("sys.argv", ["moevit", "run", "tiny.bundle"])
    page = page_of(folder)
    assert problems(page) == []
    assert [unescape(each) for each in re.findall(r"<h2[^>]*>(.*?)</h2>", page)] == SECTIONS
    verdict = re.search(r'<p class="verdict (\w+)">(.*?)</p>', page)
    assert verdict[1] == "good" and "<strong>Exact.</strong> The golden machine returns exactly" in verdict[2]
    assert page.index("verdict good") < page.index("<h2")
    assert page.count("The cycles are the estimator&#x27;s prediction, not a measurement.") == 2  # roofline and stalls
    task = model_of("tiny_test").network.tasks[0]
    assert "Roofline of the passes, predicted" in page and f"{task}, predicted" in page
    assert "estimator&#x27;s prediction, not a measurement" in page and "cycles (predicted)" in page
    assert "The float checkpoint that tiny.npz was made of is not there." in page
    for what in ("tiny.bundle, sha256 ", "tiny.npz, sha256 ", "picture.npy, sha256 ",
                 ">command</th><td>moevit run tiny.bundle", "numpy"):
        assert what in page
    assert 'class="wide"' in page and 'class="narrow"' in page and "prefers-color-scheme:dark" in page


def test_the_verdict_counts_warnings():
    assert [_warnings(count) for count in (0, 1, 2, 4)] == ["", " One warning.", " Two warnings.", " 4 warnings."]


def test_without_a_model_the_page_says_what_is_missing(folder):
    (folder / "tiny.npz").rename(folder / "elsewhere.npz")
    page = page_of(folder)
    assert problems(page) == [] and '<p class="verdict doubt">' in page
    assert page.count("No quantised model (.npz) is beside tiny.bundle: say --model.") >= 3
    assert "returns exactly" in page_of(folder, "--model", folder / "elsewhere.npz")


def test_a_wrong_value_is_the_verdict(folder):
    """The model of another seed beside the bundle: the machine's tokens are not its."""
    model_of("tiny_test", 2).save(folder / "tiny.npz")
    page = page_of(folder, "--board", "pynq-z2")
    assert '<p class="verdict bad">' in page and "differs from the integer model in" in page
    assert "MHz (assumed)" in page and "140" in page
    assert problems(page) == []


def test_a_page_needs_no_torch(folder):
    script = "import sys\nsys.modules['torch'] = None\nfrom moevit.__main__ import main\nmain()"
    done = subprocess.run([sys.executable, "-c", script, "run", folder / "tiny.bundle", folder / "picture.npy",
                           "--report", folder / "page.html"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (folder / "page.html").read_text()
    assert "returns exactly the integer model" in page and "<td>moevit run " in page


def test_a_page_that_cannot_be_written_is_one_line(folder):
    done = run("run", folder / "tiny.bundle", folder / "picture.npy", "--report", folder / "tiny.npz" / "page.html")
    assert done.exit_code == 1 and "cannot be written" in done.output
    assert run("run", folder / "tiny.bundle", folder / "picture.npy", "--board", "none").exit_code == 2


def test_what_is_wrong_with_the_page_is_said_before_the_run(folder, monkeypatch):
    def opened(*_, **__):
        raise AssertionError("a machine was opened")

    monkeypatch.setattr(command, "opened", opened)
    other = model_of("tiny_test")
    replace(other, network=replace(other.network, name="other")).save(folder / "other.npz")
    (folder / "damaged.npz").write_bytes(b"x")
    for report, model, message in (("a.html", "none.npz", "none.npz is not a quantised model"),
                                   ("a.html", "damaged.npz", "damaged.npz is not a quantised model"),
                                   ("a.html", "other.npz", "other.npz is of another network than tiny.bundle"),
                                   ("a.txt", "tiny.npz", "a.txt does not end in .html")):
        done = run("run", folder / "tiny.bundle", folder / "picture.npy", "--report", folder / report,
                   "--model", folder / model)
        assert done.exit_code == 1 and message in done.output and isinstance(done.exception, SystemExit), done.output
        assert not (folder / report).exists()
