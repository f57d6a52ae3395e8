# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint and a folder of pictures to a frame on the RTL, command by command."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from moevit.cli.app import app
from moevit.golden.integer.model import IntegerModel
from moevit.golden.quant.synthetic import synthetic_checkpoint
from moevit.golden.reference import load_state, pixels, save
from moevit.kit.npz import read_npz
from moevit.spec.networks import Network
from moevit.spec.quantised import QuantisedModel

from ..report.accessibility import problems

VIT = Network(name="vit", height=28, width=42, patch=14, dim=32, heads=2, depth=2, hidden=64, final_norm=True)
CLASSES = ["cat", "dog", "horse"]
COUNT = 5  # pictures of a class


def run(*arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint with a classifier, pictures of three classes, and the output of ``moevit build`` in out/."""
    folder = tmp_path_factory.mktemp("flow")
    rng = np.random.default_rng(4)
    tensors = {name: torch.from_numpy(tensor) for name, tensor in synthetic_checkpoint(VIT, 1).items()}
    arrays = {"fc.weight": rng.normal(size=(3, 32)), "fc.bias": np.zeros(3), "norm.weight": np.ones(32),
              "norm.bias": np.zeros(32)}
    heads = {f"heads.classifier.{name}": torch.from_numpy(value).float() for name, value in arrays.items()}
    host = {"preprocess": {"mean": [0, 0, 0], "std": [1, 1, 1], "resize": 28, "interpolation": "bilinear"},
            "heads": {"classifier": {"pool": "cls", "norm": "tokens", "task": None, "classes": CLASSES}}}
    save(folder / "vit.safetensors", load_state(VIT, tensors), heads, host)
    for place, name in enumerate(CLASSES):
        (folder / "pictures" / name).mkdir(parents=True)
        for index in range(COUNT):
            picture = Image.fromarray(rng.integers(0, 256, (7, 10, 3), dtype=np.uint8) // (place + 1))
            picture.resize((60, 40)).save(folder / "pictures" / name / f"{index}.{'jpg' if index else 'png'}")
    done = run("build", folder / "vit.safetensors", "--board", "ultra96v2", "-o", folder / "out", "--images",
               folder / "pictures", "--count", 4, "--report", folder / "page.html")
    assert done.exit_code == 0, done.output
    (folder / "said").write_text(done.output)
    return folder


def test_build_has_a_line_per_stage_and_a_verdict(folder):
    said = (folder / "said").read_text()
    stages = re.findall(r"(?m)^ +\d+\.\d s  (\w+) +\S", said)
    assert [name for name in dict.fromkeys(stages) if name != "load"] == [
        "import", "estimate", "images", "quantise", "compare", "compile", "run"]
    values = VIT.tokens * VIT.dim
    assert f"verdict: {values:,} values, 0 differ" in said and " ms on ultra96v2" in said
    assert {path.name for path in (folder / "out").iterdir()} == {"vit.safetensors", "vit.npz", "vit.bundle"}
    assert QuantisedModel.load(folder / "out" / "vit.npz").network == VIT


def test_build_writes_a_page(folder):
    page = (folder / "page.html").read_text()
    assert problems(page) == [] and "The golden machine returns exactly the integer model" in page
    assert "SQNR of every tensor, in dB" in page and "Attention of the class token" in page
    assert "The network has no experts." in page


def test_build_does_not_write_over_what_it_reads(folder):
    done = run("build", folder / "out" / "vit.safetensors", "--board", "ultra96v2", "-o", folder / "out")
    assert done.exit_code == 1 and "would be overwritten" in done.output


def test_build_says_first_that_a_network_does_not_fit(folder, tmp_path):
    done = run("build", folder / "vit.safetensors", "--board", "ultra96v2", "-o", tmp_path, "--image", "980x980")
    assert done.exit_code == 1 and "does not fit 16x16" in done.output and not (tmp_path / "vit.npz").exists()


def answers(folder, paths):
    """Classes in float (torch) and in integers (the integer model and torch's LayerNorm)."""
    from moevit.golden.pictures import read_picture
    from moevit.golden.reference import load, read

    reference, model = load(folder / "out" / "vit.safetensors"), QuantisedModel.load(folder / "out" / "vit.npz")
    tensors, integer = read(folder / "out" / "vit.safetensors").tensors, IntegerModel(model)
    found = {"float": [], "integer": []}
    for path in paths:
        image = read_picture(path, (28, 42), model.host["preprocess"])
        with torch.no_grad():
            exact = reference.trace(pixels(image[None]))["tokens"][0, 0]
            rounded = torch.from_numpy(integer.run(image).tokens[0] * 2.0**-model.residual_fraction).float()
            for rung, token in (("float", exact), ("integer", rounded)):
                normed = torch.nn.functional.layer_norm(token, (32,), eps=VIT.norm_eps)
                found[rung].append(int((tensors["heads.classifier.fc.weight"] @ normed).argmax()))
    return found


def test_evaluate_counts_right_answers(folder, tmp_path):
    done = run("evaluate", folder / "out" / "vit.npz", "--images", folder / "pictures", "-o", tmp_path / "a.json")
    assert done.exit_code == 0, done.output
    paths = [path for name in CLASSES for path in sorted((folder / "pictures" / name).iterdir())]
    labels = np.repeat(np.arange(3), COUNT)
    wanted, figures = answers(folder, paths), json.loads((tmp_path / "a.json").read_text())
    right = {rung: int((np.array(each) == labels).sum()) for rung, each in wanted.items()}
    assert figures["pictures"] == 15
    for rung in ("float", "integer"):
        assert figures[f"top1_{rung}"] == pytest.approx(right[rung] / 15)
        assert re.search(rf"top-1 {rung} .*{right[rung]} of 15", done.output)
    assert figures["agreement"] == pytest.approx(np.mean(np.array(wanted["float"]) == wanted["integer"]))
    assert 0.99 < figures["cosine_median"] < 1
    rows = {name: next(line for line in done.output.splitlines() if re.match(rf"\s*{name} ", line)) for name in CLASSES}
    for place, name in enumerate(CLASSES):
        counted = np.bincount(np.array(wanted["integer"])[labels == place], minlength=3)
        shown = [int(cell) for cell in re.findall(r"(?<!\()\b\d+\b(?!\))", rows[name])]
        assert [each for each in shown if each] == [each for each in counted.tolist() if each]


def test_evaluate_without_classes_compares_features(folder, tmp_path):
    done = run("evaluate", folder / "out" / "vit.npz", "--images", folder / "pictures" / "cat", "--count", 2,
               "-o", tmp_path / "a.json")
    assert done.exit_code == 0 and "features" in done.output and "top-1" not in done.output
    assert json.loads((tmp_path / "a.json").read_text()).keys() == {
        "pictures", "agreement", "cosine_median", "cosine_least", "saturated"}


def test_evaluate_refuses(folder, tmp_path):
    model = folder / "out" / "vit.npz"
    (tmp_path / "lion").mkdir()
    Image.new("RGB", (42, 28)).save(tmp_path / "lion" / "a.png")
    for arguments, code, message in (
            ((model, "--images", tmp_path), 1, "folders lion, ... are no classes of the classifier, which are named"),
            ((model, "--images", folder / "pictures", "--head", "none"), 2, "no classifier is called 'none'"),
            ((model, "--images", folder / "pictures", "--task", "none"), 2, "no task is called 'none'"),
            ((model, "--images", folder / "none"), 1, "none is not there"),
            ((model, "--images", folder / "pictures", "--checkpoint", "models/demo/demo.safetensors"), 1,
             "made of another network")):
        done = run("evaluate", *arguments)
        assert done.exit_code == code and message in " ".join(done.output.split()), done.output


def test_quantise_notes_its_checkpoint(folder, tmp_path):
    done = run("quantise", folder / "vit.safetensors", "-o", tmp_path / "a.npz", "--images", folder / "pictures",
               "--count", 3, "--check", 0)
    assert done.exit_code == 0 and "3 for calibration" in done.output, done.output
    noted = QuantisedModel.load(tmp_path / "a.npz").notes["checkpoint"]
    assert (tmp_path / noted).resolve() == (folder / "vit.safetensors").resolve()


def test_run_on_the_golden_machine(folder, tmp_path):
    picture = folder / "pictures" / "dog" / "1.jpg"
    done = run("run", folder / "out" / "vit.bundle", picture, folder / "pictures" / "cat" / "0.png",
               "-o", tmp_path / "a.npz", "--top", 2)
    assert done.exit_code == 0, done.output
    arrays = read_npz(tmp_path / "a.npz")
    from moevit.golden.pictures import read_picture

    model = QuantisedModel.load(folder / "out" / "vit.npz")
    for index, path in enumerate((picture, folder / "pictures" / "cat" / "0.png")):
        wanted = IntegerModel(model).run(read_picture(path, (28, 42), model.host["preprocess"])).tokens
        np.testing.assert_array_equal(arrays["integers"][index], wanted)
        best = CLASSES[answers(folder, [path])["integer"][0]]
        first = next(line for line in done.output.splitlines() if line.startswith(f"{path.name}: classifier"))
        assert first.split()[-1] == best and int(np.argmax(arrays["outputs_classifier"][index])) == CLASSES.index(best)
    np.testing.assert_array_equal(arrays["tokens"], arrays["integers"] * np.float32(2.0**-model.residual_fraction))
    assert len(re.findall(r"classifier +\d+\.\d%", done.output)) == 4


@pytest.mark.timeout(900)  # the first build of a simulation
def test_run_on_the_rtl_is_the_golden_machine(folder, tmp_path):
    assert run("compile", folder / "out" / "vit.npz", "-o", tmp_path / "a.bundle", "--config", "8x8").exit_code == 0
    picture = folder / "pictures" / "horse" / "2.jpg"
    for on in ("rtl", "golden"):
        done = run("run", tmp_path / "a.bundle", picture, "--on", on, "-o", tmp_path / f"{on}.npz", "--report",
                   tmp_path / f"{on}.html", "--model", folder / "out" / "vit.npz")
        assert done.exit_code == 0, done.output
        assert (": " in done.output and "cycles" in done.output) or on == "golden"
    found = {on: read_npz(tmp_path / f"{on}.npz")["integers"] for on in ("rtl", "golden")}
    np.testing.assert_array_equal(found["rtl"], found["golden"])
    page = (tmp_path / "rtl.html").read_text()
    assert problems(page) == [] and "The simulated RTL returns exactly the integer model" in page
    assert "read bursts of the memory bus: " in page.replace(")", "") and "Not shown. The golden" not in page
    cycles = int(re.search(r"<dt>cycles</dt><dd>([\d,]+)", page)[1].replace(",", ""))
    predicted = int(re.search(r"([\d,]+) predicted, [\d,]+ measured", page)[1].replace(",", ""))
    assert abs(predicted / cycles - 1) < 0.05


def test_run_refuses(folder, tmp_path):
    bundle, picture = folder / "out" / "vit.bundle", folder / "pictures" / "dog" / "1.jpg"
    for arguments, message in (
            ((bundle, picture, "--task", "none"), "no task is called 'none'. The tasks are tokens"),
            ((bundle, picture, "--on", "none.bit"), "none.bit is not there. Say --on rtl, --on golden, or"),
            ((bundle, __file__), "is no PNG or JPEG"), ((picture, picture), "is not a bundle"),
            ((bundle, picture, "-o", picture / "a.npz"), "cannot be written")):
        done = run("run", *arguments)
        assert done.exit_code == 1 and message in done.output, done.output
    assert run("compile", folder / "out" / "vit.npz", "-o", tmp_path / "a.bundle", "--batch", 2).exit_code == 0
    done = run("run", tmp_path / "a.bundle", picture)
    assert done.exit_code == 1 and "1 pictures are no whole batches of 2. Give 2, or compile with" in done.output
    done = run("run", tmp_path / "a.bundle", picture, picture)
    assert done.exit_code == 0 and done.output.count("1.jpg: classifier") == 6
