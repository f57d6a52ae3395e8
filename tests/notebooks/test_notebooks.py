# SPDX-License-Identifier: Apache-2.0
"""The notebooks over the simulated board: executed, looked at, and in step with their text."""

import io
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from matplotlib.image import imread

from moevit import notebooks
from moevit.compiler.assemble import compile_model
from moevit.golden.demo.prepare import prepare
from moevit.golden.integer.model import IntegerModel
from moevit.golden.quant.images import photographs
from moevit.golden.quant.quantiser import quantise
from moevit.golden.reference import read
from moevit.host.errors import MissingFile
from moevit.kit.npz import read_npz
from moevit.notebooks.execute import SOURCES, convert, drawings, execute, pictures
from moevit.spec.arrays import CONFIGS

from ..published import ROOT

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    tomllib = None

CHECKPOINT = ROOT / "models" / "demo" / "demo.safetensors"
NAMES = ("01_first_frame", "02_inside", "03_your_model")
FEWEST_COLOURS = 50  # of a picture that shows something
FEWEST_SHAPES = 10  # of a drawing

pytestmark = [
    pytest.mark.timeout(900),  # the first build of a simulation
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:(jupyter_client|nbclient|zmq|tornado)"),
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """What `make demo` makes, quicker: weights are rounded to nearest."""
    folder = tmp_path_factory.mktemp("demo")
    network, tensors, _ = read(CHECKPOINT)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    model = quantise(network, arrays, photographs(network, 4), compensate=False)
    model.save(folder / "model.npz")
    heads = {name: value for name, value in arrays.items() if name.startswith("heads.")}
    compile_model(model, CONFIGS["16x16"], heads).save(folder / "16x16.bundle")
    np.savez(folder / "scenes.npz", **prepare(model, CHECKPOINT, 0, 1))
    (folder / CHECKPOINT.name).symlink_to(CHECKPOINT)
    return folder, model


def run(name: str, folder: Path, ask: str) -> tuple[dict[str, np.ndarray], list, str]:
    """Execute a notebook and then ``np.savez`` of the arguments ``ask``: the arrays, what was drawn (pictures, then SVG
    texts), what was printed."""
    notebook = convert(next(source for source in SOURCES if source.stem == name))
    notebook.cells.append(nbformat.v4.new_code_cell(f"np.savez('answer.npz', {ask})"))
    execute(notebook, folder)
    printed = "".join(output.text for cell in notebook.cells for output in cell.get("outputs", [])
                      if output.output_type == "stream" and output.name == "stdout")
    shown = [*(imread(io.BytesIO(content), "png") for content in pictures(notebook)), *drawings(notebook)]
    return read_npz(folder / "answer.npz"), shown, printed


def assert_not_blank(shown: list, count: int) -> None:
    assert len(shown) == count
    for index, picture in enumerate(shown):
        if isinstance(picture, str):
            assert "<desc>" in picture and picture.count("<rect") + picture.count("<circle") > FEWEST_SHAPES, index
            continue
        colours = np.unique((picture * 255).astype(np.uint8).reshape(-1, picture.shape[-1]), axis=0)
        assert min(picture.shape[:2]) > 100 and len(colours) > FEWEST_COLOURS, index


def test_first_frame(demo):
    folder, _ = demo
    answer, shown, printed = run("01_first_frame", folder, "driver=type(accelerator.device).__name__, iou=iou, "
                                 "error=error, python=__import__('sys').executable, **tokens")
    scenes = read_npz(folder / "scenes.npz")
    fraction = demo[1].residual_fraction
    for task in ("semseg", "depth"):
        np.testing.assert_array_equal(answer[task] * 2**fraction, scenes[f"integer_{task}"][0])
        assert f"{task:8} 8,256 values, 0 differ" in printed
    assert answer["driver"] == "MoevitIP", "the driver of a board, over the simulation"
    assert answer["python"] == sys.executable
    assert answer["iou"] > 0.6 and answer["error"] < 0.1
    assert_not_blank(shown, 1)


def test_inside(demo):
    folder, model = demo
    answer, shown, printed = run("02_inside", folder, "cycles=[each.cycles for each in reports.values()], "
                                 "stalls=[sum(each.stalls.values()) for each in reports.values()], **loads")
    image = read_npz(folder / "scenes.npz")["images"][0]
    for index, task in enumerate(model.network.tasks):
        trace = IntegerModel(model).run(image, index).trace
        wanted = [np.bincount(model[f"blocks.{block}.moe.order"][trace[f"{block}.top_k_index"]].ravel(), minlength=8)
                  for block in (1, 3)]
        np.testing.assert_array_equal(answer[task], wanted)
    assert (answer["cycles"] > 100_000).all()
    np.testing.assert_array_equal(answer["stalls"], answer["cycles"])
    assert "SKIPPED" not in printed
    assert_not_blank(shown, 8)


@pytest.mark.slow
def test_inside_without_the_quantised_model(demo, tmp_path):
    for name in ("16x16.bundle", "scenes.npz"):
        (tmp_path / name).symlink_to(demo[0] / name)
    _, shown, printed = run("02_inside", tmp_path, "cycles=reports['depth'].cycles")
    assert "SKIPPED, the pictures below too. model.npz is neither in" in printed
    assert_not_blank(shown, 6)


def test_your_model(demo):
    answer, shown, printed = run("03_your_model", demo[0], "cycles=report.cycles, expected=expected.cycles, "
                                 "tokens=tokens, integer=frames[task][0].tokens, semseg=scores['semseg'], "
                                 "depth=scores['depth']")
    np.testing.assert_array_equal(answer["tokens"], answer["integer"])
    assert abs(answer["expected"] / answer["cycles"] - 1) < 0.05
    before, after = answer["semseg"]
    assert before > 0.8 and abs(before - after) < 0.02
    assert answer["depth"].max() < 0.1
    assert "0 differ from the integer model" in printed
    assert_not_blank(shown, 2)


def test_every_notebook_is_tested():
    assert tuple(source.stem for source in SOURCES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_text_and_notebook_are_in_step(name):
    source = next(source for source in SOURCES if source.stem == name)
    shipped = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    wanted = convert(source)
    assert [(cell.id, cell.cell_type, cell.source) for cell in shipped.cells] == [
        (cell.id, cell.cell_type, cell.source) for cell in wanted.cells], "run `make notebooks`"
    assert shipped.metadata == wanted.metadata
    code = [cell for cell in shipped.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "executed from top to bottom"
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    assert source.with_suffix(".ipynb").stat().st_size < 1 << 20


def test_a_file_that_is_nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingFile, match=r"(?s)absent\.bundle is neither in .*`make demo`"):
        notebooks.find("absent.bundle")


def test_files_beside_the_notebook_come_first(tmp_path, monkeypatch):
    inner = tmp_path / "host" / "notebooks"
    made = tmp_path / "build" / "demo" / "a.bundle"
    for path in (inner, made.parent):
        path.mkdir(parents=True)
    made.touch()
    monkeypatch.chdir(inner)
    assert notebooks.find("*.bundle") == made
    (inner / "b.bundle").touch()
    assert notebooks.find("*.bundle") == inner / "b.bundle"


def test_a_board_is_taken_if_there_is_one(demo, tmp_path, monkeypatch, capsys):
    """With its bitstream, and the bundle loaded; no simulation is asked for."""
    opened = []

    class Spy:
        def __init__(self, machine):
            opened.append(machine)

        def load(self, bundle):
            opened.append(bundle.manifest["config"])

    monkeypatch.setattr(notebooks, "_board_is_here", lambda: True)
    monkeypatch.setattr(notebooks, "Accelerator", Spy)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingFile, match=r"\*\.bit is neither in"):
        notebooks.machine(demo[0] / "16x16.bundle")
    (tmp_path / "moevit.bit").touch()
    notebooks.machine(demo[0] / "16x16.bundle")
    assert opened == [tmp_path / "moevit.bit", "16x16"]
    assert "A board: moevit.bit" in capsys.readouterr().out


@pytest.mark.skipif(tomllib is None, reason="tomllib needs Python 3.11")
def test_pynq_delivers_them(tmp_path):
    """PYNQ's own command, with the entry point of pyproject.toml."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    entries = "\n".join(f"{name} = {value}" for name, value in groups["pynq.notebooks"].items())
    installed = tmp_path / "site" / "moevit-0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: moevit\nVersion: 0\n")
    (installed / "entry_points.txt").write_text(f"[pynq.notebooks]\n{entries}\n")
    path = os.pathsep.join(filter(None, [str(installed.parent), os.environ.get("PYTHONPATH")]))
    subprocess.run([sys.executable, "-c", "from pynq._cli.get_notebooks import main; main()", "moevit", "--path",
                    str(tmp_path / "out"), "--ignore-overlays"], env={**os.environ, "PYTHONPATH": path}, check=True,
                   capture_output=True)
    assert {path.stem for path in (tmp_path / "out" / "moevit").glob("*.ipynb")} == set(NAMES)
