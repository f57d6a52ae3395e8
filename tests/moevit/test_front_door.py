# SPDX-License-Identifier: Apache-2.0
"""The console command and the package: list of commands, messages for missing packages, interrupts."""

import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

import moevit
from moevit.cli.app import app
from moevit.cli.commands import BOARD, COMMANDS
from moevit.extras import MissingExtra
from moevit.spec.networks import NETWORKS
from moevit.spec.quantised import QuantisedModel

from ..conftest import model_of

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    tomllib = None

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments, without=(), **environment):
    """``python -m moevit`` in a process of its own, as if the packages ``without`` were not installed."""
    script = ("import sys\n"
              f"for name in {tuple(without)!r}: sys.modules[name] = None\n"
              "from moevit.__main__ import main\nmain()")
    return subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, timeout=300,
                          env={**os.environ, **environment})


def test_version():
    done = run("--version")
    assert done.returncode == 0 and done.stdout.decode().strip() == f"moevit {version('moevit')}"
    assert moevit.__version__ == version("moevit")


def test_every_command_is_listed_without_being_imported():
    done = CliRunner().invoke(app, ["--help"])
    assert done.exit_code == 0
    for name, command in COMMANDS.items():
        if " " not in name:
            assert re.search(rf"^│ {re.escape(name)} .*{re.escape(command.help.split()[0])}", done.output, re.MULTILINE)
    script = "import sys; from moevit.cli.app import app\ntry: app(['--help'])\nexcept SystemExit: pass\n" \
             "print(sorted({'torch', 'amaranth', 'cocotb', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", [name for name, each in COMMANDS.items() if each.target not in ("", BOARD)])
def test_help_of_a_command(name):
    done = CliRunner().invoke(app, [*name.split(), "--help"])
    assert done.exit_code == 0, done.output
    assert "<bool>" not in done.output and "--help" in done.output
    said = " ".join(done.output.split())
    assert COMMANDS[name].help.split()[0].rstrip(",s") in said or "Usage" in said


@pytest.mark.skipif(tomllib is None, reason="tomllib needs Python 3.11")
def test_every_extra_is_one_of_the_package():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {each.extra for each in COMMANDS.values()} - {""} <= set(extras)


@pytest.mark.skipif(tomllib is None, reason="tomllib needs Python 3.11")
def test_what_is_asked_for_is_pinned():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = {re.match(r"[\w.-]+", each)[0] for extra in extras.values() for each in extra} - {"moevit"}
    pins = (ROOT / "constraints.txt").read_text()
    assert asked | {"numpy"} == set(re.findall(r"(?m)^([\w.-]+)==\S+", pins))


@pytest.mark.parametrize("name", [name for name, each in COMMANDS.items() if each.target != BOARD])
def test_without_typer_every_other_command_says_what_to_install(name):
    done = run(*name.split(), without=("typer", "rich", "torch", "amaranth", "cocotb", "PIL", "matplotlib"))
    said = done.stderr.decode().splitlines()
    assert done.returncode == 1 and len(said) == 1 and f"pip install 'moevit[{COMMANDS[name].extra}]'" in said[0]
    assert not done.stdout


@pytest.mark.parametrize("name, package", [
    ("quantise", "torch"), ("import", "safetensors"), ("demo prepare", "torch"), ("generate", "amaranth"),
    ("estimate", "amaranth"),
    ("simulate", "cocotb_tools"), ("notebooks", "nbformat"), ("bench", "matplotlib"), ("board-sim", "cocotb_tools")])
def test_a_command_without_its_extra_says_what_to_install(name, package):
    done = run(*name.split(), "--help", without=(package,))
    said = [line for line in done.stderr.decode().splitlines() if " s  load " not in line]  # where imports take long
    assert done.returncode == 1 and len(said) == 1 and not done.stdout, done.stderr
    assert f"needs {package}, which is not installed: pip install 'moevit[{COMMANDS[name].extra}]'" in said[0]


def test_a_board_has_doctor_and_verify(tmp_path):
    without = ("typer", "rich", "torch")
    done = run("doctor", tmp_path, without=without)
    assert done.returncode == 1 and b"numpy" in done.stdout and not done.stderr
    done = run("verify", tmp_path / "none.zip", without=without)
    assert done.returncode == 1 and b"none.zip cannot be read" in done.stderr
    assert run("--version", without=without).stdout.decode() == f"moevit {version('moevit')}\n"
    done = run("--help", without=without)
    assert done.returncode == 0 and b"moevit[cli]" in done.stdout
    assert run("doctor", tmp_path).stdout == run("doctor", tmp_path, without=without).stdout


@pytest.mark.parametrize("without", [(), ("typer",)])
def test_a_reader_that_has_enough(tmp_path, without):
    script = f"import sys\nfor name in {without!r}: sys.modules[name] = None\n" \
             "from moevit.__main__ import main\nmain(['doctor', '.'])"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", script], stdout=write, stderr=subprocess.PIPE, cwd=tmp_path)
    os.close(write)
    assert done.returncode == 1 and not done.stderr


def test_names_of_the_package():
    from moevit.compiler.assemble import compile_model
    from moevit.estimator.estimate import estimate
    from moevit.golden.importers import import_checkpoint
    from moevit.golden.quant import quantise
    from moevit.host.runtime import Accelerator

    assert moevit.Accelerator is Accelerator and moevit.compile is compile_model and moevit.estimate is estimate
    assert moevit.quantise is quantise and moevit.import_checkpoint is import_checkpoint
    assert set(moevit.__all__) <= set(dir(moevit))
    with pytest.raises(AttributeError, match="'nothing'"):
        moevit.nothing  # noqa: B018


def test_a_name_without_its_extra(monkeypatch):
    monkeypatch.delitem(vars(moevit), "quantise", raising=False)
    for name in [each for each in sys.modules if each.startswith("moevit.golden")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"^moevit.quantise needs torch.*pip install 'moevit\[golden\]'$"):
        moevit.quantise  # noqa: B018


def test_load(tmp_path):
    from moevit.golden.reference import CheckpointError
    from moevit.spec.arrays import CONFIGS
    from moevit.spec.bundle import Bundle

    model_of("tiny_test").save(tmp_path / "a.npz")
    assert isinstance(moevit.load(tmp_path / "a.npz"), QuantisedModel)
    moevit.compile(model_of("tiny_test"), CONFIGS["8x8"]).save(tmp_path / "a.bundle")
    assert isinstance(moevit.load(str(tmp_path / "a.bundle")), Bundle)
    assert moevit.load("models/demo/demo.safetensors").network == NETWORKS["demo"]
    (tmp_path / "other").write_text("nothing of ours")
    with pytest.raises(CheckpointError, match="other is not a safetensors file"):
        moevit.load(tmp_path / "other")


@pytest.mark.parametrize("environment", [
    {"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"}])
@pytest.mark.parametrize("name", [b"\xc3\xbcbung.npz", b"\xfc.npz"])
def test_a_path_that_the_terminal_cannot_show(tmp_path, environment, name):
    model_of("tiny_test").save(tmp_path / "a.npz")
    path = os.fsdecode(os.path.join(os.fsencode(tmp_path), name))
    os.rename(tmp_path / "a.npz", path)
    bundle = path.replace(".npz", ".bundle")
    done = run("compile", path, "-o", bundle, "--config", "8x8", **environment)
    assert done.returncode == 0 and b"instructions" in done.stdout, done.stderr
    assert os.path.exists(bundle)
    done = run("estimate", path, **environment)
    assert done.returncode == 0 and b"fits best" in done.stdout, done.stderr
    done = run("disassemble", path, **environment)
    assert done.returncode == 1 and b"is not a bundle" in done.stderr and b"Traceback" not in done.stderr


def test_ctrl_c_says_what_is_left(tmp_path):
    """Without a terminal there is a line per stage, a line of progress in between, and one line after the interrupt."""
    process = subprocess.Popen(
        [sys.executable, "-m", "moevit", "demo", "train", "--out", str(tmp_path), "--steps", "99999"],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))  # who runs tests may ignore it
    began, lines = time.monotonic(), []
    for line in process.stderr:
        lines.append(line.decode())
        if re.search(r"train +[\d,]+ of 99,999", lines[-1]):
            break
    assert time.monotonic() - began < 120
    process.send_signal(signal.SIGINT)
    out, rest = process.communicate(timeout=60)
    said = rest.decode().splitlines()
    assert process.returncode == 130 and not out
    assert len(said) == 1 and re.fullmatch(
        rf"Interrupted in train \([\d,]+ of 99,999\) after \d+ s; not written: {re.escape(str(tmp_path))}"
        "/demo.safetensors", said[0])
