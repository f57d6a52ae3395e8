# SPDX-License-Identifier: Apache-2.0
"""A board's archive: what is in it, and that its package installs and runs with numpy alone and no network."""

import json
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from typer.testing import CliRunner

import moevit
from moevit.cli import board
from moevit.cli.app import app
from moevit.compiler.assemble import compile_model
from moevit.golden.integer.model import IntegerModel
from moevit.golden.machine.device import GoldenDevice
from moevit.host.runtime import Accelerator
from moevit.kit.release import verify
from moevit.rtl_gen import release
from moevit.spec.arrays import CONFIGS

from ..conftest import model_of, random_image
from .vivado.conftest import bare_rtl, vivado  # noqa: F401  (a fixture)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return release.make_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundle") / "16x16.bundle"
    compile_model(model_of("tiny_test"), CONFIGS["16x16"]).save(path)
    return path


@pytest.fixture
def pack(tmp_path, monkeypatch, wheel, bundle):
    """``pack(*arguments)``: exit code, output and the archive of a release for the pynq-z2."""
    monkeypatch.setattr(release, "make_wheel", lambda folder: wheel)

    def call(*arguments, name="pynq-z2"):
        done = CliRunner().invoke(app, ["release", "--board", name, "--bundle", str(bundle), "-o", str(tmp_path),
                                                "--built", str(tmp_path / "out"), *map(str, arguments)])
        return done.exit_code, " ".join(done.output.split()), tmp_path / f"moevit-0.1.0-{name}.zip"

    return call


@pytest.fixture
def scenes(tmp_path):
    """A scene and what the integer model makes of it, as `moevit demo prepare` writes it."""
    model, image = model_of("tiny_test"), random_image("tiny_test")
    tokens = {f"integer_{task}": IntegerModel(model).run(image, index).tokens[None]
              for index, task in enumerate(model.network.tasks)}
    np.savez(tmp_path / "scenes.npz", images=image[None], **tokens)
    return tmp_path / "scenes.npz"


def blocks(text: str) -> list[str]:
    """The blocks of code of a page."""
    return re.findall(r"(?ms)^```\w*\n(.*?)^```$", text)


def test_the_archive_has_one_folder_with_sane_modes(pack):
    code, _, archive = pack()
    with zipfile.ZipFile(archive) as packed:
        entries = packed.infolist()
    assert code == 0 and {entry.filename.partition("/")[0] for entry in entries} == {archive.stem}
    assert {entry.external_attr >> 16 for entry in entries} == {0o100644}


def test_the_five_lines_of_the_page_print_what_it_says(pack, scenes, tmp_path, monkeypatch, capsys):
    """Over the golden machine, in the unpacked folder."""
    archive = pack("--beside", scenes)[2]
    folder = tmp_path / "unpacked"
    assert board.main(["verify", str(archive), "--unpack", str(folder)]) == 0
    lines, expected = blocks((folder / "INSTALL.md").read_text())
    assert len(lines.splitlines()) == 5
    opened = []

    def golden(bitstream):
        opened.append(bitstream)
        return Accelerator(GoldenDevice(CONFIGS["16x16"]))

    monkeypatch.setitem(vars(moevit), "Accelerator", golden)
    monkeypatch.chdir(folder)
    capsys.readouterr()
    exec(lines, {})
    assert capsys.readouterr().out == expected and "[[" in expected and opened == ["moevit_pynq_z2.bit"]


def test_the_five_lines_without_scenes(pack, tmp_path, monkeypatch, capsys):
    assert board.main(["verify", str(pack()[2]), "--unpack", str(tmp_path / "unpacked")]) == 0
    lines, expected = blocks((tmp_path / "unpacked" / "INSTALL.md").read_text())
    monkeypatch.setitem(vars(moevit), "Accelerator", lambda _: Accelerator(GoldenDevice(CONFIGS["16x16"])))
    monkeypatch.chdir(tmp_path / "unpacked")
    capsys.readouterr()
    exec(lines, {})
    network = model_of("tiny_test").network
    assert capsys.readouterr().out == expected == f"(1, {network.tokens}, {network.dim})\n"


def test_every_file_that_the_page_names_is_there(pack, scenes, tmp_path):
    archive = pack("--beside", scenes)[2]
    files = {*verify(archive)["files"], "manifest.json"}
    with zipfile.ZipFile(archive) as packed:
        text = packed.read(f"{archive.stem}/INSTALL.md").decode()
    named = set(re.findall(r"[\w./-]+\.(?:bit|hwh|bundle|npz|py|ipynb|md|zip)\b", text))
    assert named - files == {archive.name, "moevit_pynq_z2.bit", "moevit_pynq_z2.hwh"}, "but the bitstream"
    assert "moevit_pynq_z2.bit` and" in text and set(re.findall(r"`(\d\d_\w+\.ipynb)`", text)) == {
        name for name in files if name.endswith(".ipynb")}
    printed = re.search(r"prints `(.*?)`", text)[1]
    assert board.main(["verify", str(archive), "--unpack", str(tmp_path / "out")]) == 0
    done = subprocess.run([sys.executable, "-I", "-S", "verify.py"], cwd=tmp_path / "out", capture_output=True,
                          text=True)
    assert done.stdout == f"{printed}\n"


def test_damaged_scenes_are_one_line(pack, tmp_path):
    (tmp_path / "scenes.npz").write_bytes(b"scenes")
    code, output, archive = pack("--beside", tmp_path / "scenes.npz")
    assert code == 1 and "not a readable .npz" in output and not archive.exists()


def test_without_a_bitstream(pack, scenes, tmp_path):
    (tmp_path / "model.npz").write_bytes(b"model")
    code, output, archive = pack("--beside", tmp_path / "scenes.npz", "--beside", tmp_path / "model.npz")
    assert code == 0 and "without a bitstream" in output
    manifest = verify(archive)
    assert (manifest["board"], manifest["config"]) == ("pynq-z2", "16x16")
    assert manifest["config_hash"] == f"0x{CONFIGS['16x16'].hash:08X}"
    assert {"16x16.bundle", "INSTALL.md", "LICENSE", "model.npz", "scenes.npz", "verify.py", "01_first_frame.ipynb",
            "wheels/moevit-0.1.0-py3-none-any.whl"} <= set(manifest["files"])
    assert not [name for name in manifest["files"] if name.endswith((".bit", ".hwh"))]
    done = board.main(["verify", str(archive), "--unpack", str(tmp_path / "unpacked")])
    assert done == 0
    text = (tmp_path / "unpacked" / "INSTALL.md").read_text()
    assert "make bitstream BOARD=pynq-z2" in text and "moevit_pynq_z2.bit" in text and "{" not in text
    archive.write_bytes(archive.read_bytes()[:-1])
    assert board.main(["verify", str(archive)]) == 1


def test_with_a_bitstream(pack, tmp_path, vivado):  # noqa: F811
    from moevit.rtl_gen.vivado.build import Build
    from moevit.spec.boards import BOARDS

    build = Build(tmp_path / "out", BOARDS["pynq-z2"], CONFIGS["16x16"], bare_rtl("16x16"))
    build.write()
    build.bitstream(str(vivado), lambda line: None)
    code, output, archive = pack()
    assert code == 0 and "with a bitstream" in output
    assert {"moevit_pynq_z2.bit", "moevit_pynq_z2.hwh", "build.json"} <= set(verify(archive)["files"])
    report = json.loads((tmp_path / "out" / "build.json").read_text())
    (tmp_path / "out" / "build.json").write_text(json.dumps({**report, "config_hash": "0x00000000"}))
    assert pack()[0] == 1
    (tmp_path / "out" / "build.json").write_text(json.dumps(report))
    bitstream = (tmp_path / "out" / "moevit_pynq_z2.bit").read_bytes()
    (tmp_path / "out" / "moevit_pynq_z2.bit").write_bytes(bitstream[:-1] + bytes([bitstream[-1] ^ 1]))
    code, output, _ = pack()
    assert code == 1 and "moevit_pynq_z2.bit is not the file that build.json was written for" in output
    (tmp_path / "out" / "moevit_pynq_z2.bit").write_bytes(b"")
    code, output, _ = pack()
    assert code == 1 and "is no bitstream" in output
    for damaged in ("", "[]", "{}"):
        (tmp_path / "out" / "build.json").write_text(damaged)
        code, output, _ = pack()
        assert code == 1 and "build.json is damaged" in output


def test_a_bundle_of_another_configuration_is_refused(pack):
    code, output, archive = pack(name="zcu104")
    assert code == 1 and "compiled for 16x16, zcu104 has 32x64" in output and not archive.exists()
    assert pack(name="zcu999")[0] == 2


def test_the_wheel_installs_offline_and_needs_numpy_alone(wheel, bundle, tmp_path):
    target = tmp_path / "site"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index",
                    "--no-deps", "--find-links", str(wheel.parent), "--target", str(target), "moevit"], check=True)
    for file in ("rtl_gen/vivado/tcl/build.tcl", "py.typed", "cli/app.py", "golden/pictures.py",
                 "sim/verilator/memory.sv"):
        assert (target / "moevit" / file).exists(), file
    assert (target / "bin" / "moevit").exists()
    script = (f"import sys; sys.path.insert(0, {str(target)!r})\n"
              "from moevit import Accelerator, __version__\nfrom moevit.spec.bundle import Bundle\n"
              "assert __version__ == '0.1.0', __version__\n"
              f"print(Bundle.load({str(bundle)!r}).tasks, Accelerator.__module__)\n"
              "outside = {n.split('.')[0] for n in sys.modules} & {'torch', 'amaranth', 'typer', 'rich', 'cocotb'}\n"
              "assert not outside, outside\nimport moevit\n"
              f"assert list(moevit.__path__) == [{str(target / 'moevit')!r}], moevit.__path__")
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and "moevit.host.runtime" in done.stdout, done.stderr
