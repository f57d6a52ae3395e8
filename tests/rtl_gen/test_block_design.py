# SPDX-License-Identifier: Apache-2.0
"""The core in a block design of one's own: C headers that say what ``spec`` says, and the page's driver at work."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from moevit.cli.app import app
from moevit.compiler.assemble import compile_model
from moevit.golden.integer.model import IntegerModel
from moevit.golden.machine.device import GoldenDevice
from moevit.host.images import tokens_of
from moevit.rtl_gen import c_header
from moevit.rtl_gen.c_header import machine_header, network_header
from moevit.spec import isa, registers
from moevit.spec.arrays import CONFIGS
from moevit.spec.cells import lay_cells
from moevit.spec.registers import ErrorCode

from ..conftest import model_of, random_image
from .vivado.conftest import bare_rtl

CONFIG, ROOT = CONFIGS["8x8"], Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "block-design.md"
STRICT = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"]

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")


@pytest.fixture(scope="module")
def bundle():
    return compile_model(model_of("tiny_test"), CONFIG)


@pytest.fixture
def headers(tmp_path, bundle):
    (tmp_path / "moevit.h").write_text(machine_header(CONFIG))
    (tmp_path / "moevit_network.h").write_text(network_header(bundle))
    return tmp_path


def compiled(folder, source: str, *options: str) -> Path:
    (folder / "a.c").write_text(source)
    subprocess.run(["gcc", *STRICT, *options, "a.c", "-o", "a.out"], cwd=folder, check=True)
    return folder / "a.out"


def test_constants_are_those_of_the_contract(headers):
    """Every name of the headers is printed by a C program."""
    names = re.findall(r"#define (MOEVIT_\w+) ", machine_header(CONFIG) + (headers / "moevit_network.h").read_text())
    members = re.findall(r"(?m)^    (MOEVIT_\w+) = ", machine_header(CONFIG))
    assert len(set(names + members)) == len(names + members) > 300
    lines = "".join(f'    printf("{name} %llu\\n", (unsigned long long){name});\n' for name in names + members)
    source = ('#include <stdio.h>\n#include "moevit.h"\n#include "moevit.h"\n#include "moevit_network.h"\n'
              f"int main(void)\n{{\n{lines}    return 0;\n}}\n")
    printed = subprocess.run([compiled(headers, source)], capture_output=True, text=True, check=True).stdout
    found = {name: int(value) for name, value in map(str.split, printed.splitlines())}
    wanted = {"MAGIC": registers.MAGIC, "VERSION": registers.VERSION, "CONFIG_HASH": CONFIG.hash,
              "BUS_BYTES": CONFIG.bus_bytes, "PASS_LOG": registers.PASS_LOG, "APERTURE": registers.APERTURE,
              "PASS_LOG_ENTRIES": registers.PASS_LOG_ENTRIES, "INSTRUCTION_BYTES": isa.INSTRUCTION_BYTES,
              **{f"REG_{each.name}": each.offset for each in registers.REGISTERS},
              **{f"CONTROL_{name}": 1 << bit for name, bit in registers.BITS.items()},
              **{f"ERROR_{code.name}": code.value for code in ErrorCode},
              **{f"OPCODE_{each.name}": each.value for each in isa.Opcode},
              **{f"WEIGHT_SOURCE_{each.name}": each.value for each in isa.WeightSource}}
    for field in isa.FIELDS:
        wanted |= {f"FIELD_{field.name.upper()}_{part}": value
                   for part, value in (("WORD", field.word), ("LSB", field.lsb), ("WIDTH", field.width))}
    assert wanted == {name: found[f"MOEVIT_{name}"] for name in wanted}
    word = registers.pack_log(rows=5, expert=3, pc=77)
    for name, value in (("ROWS", 5), ("EXPERT", 3), ("PC", 77)):
        shift, width = found[f"MOEVIT_PASS_LOG_{name}_LSB"], found[f"MOEVIT_PASS_LOG_{name}_WIDTH"]
        assert word >> shift & (1 << width) - 1 == value


def test_the_network_is_the_bundles(headers, bundle):
    text = (headers / "moevit_network.h").read_text()
    found = {name: int(value, 0) for name, value in re.findall(r"#define MOEVIT_(\w+) (\w+)u\b", text)}
    manifest = bundle.manifest
    assert found["PROGRAM_INSTRUCTIONS"] == bundle.program_length and found["WEIGHTS_BYTES"] == len(bundle.weights)
    assert found["GATE_STRIDE"] == manifest["gate_stride"] and found["GATES_BYTES"] == len(bundle.gates)
    assert found["OUTPUT_TOKENS"] == manifest["output"]["tokens"]
    assert [found[f"TASK_{task.upper()}"] for task in bundle.tasks] == list(range(len(bundle.tasks)))


def test_the_driver_of_the_page_runs_a_network(headers, bundle):
    """Its registers are the golden machine's; memory is laid out as the page says."""
    source, = re.findall(r"(?ms)^```c\n(.*?)^```$", PAGE.read_text())
    declared = (f"{source}\nuint32_t (*reader)(uint32_t);\nvoid (*writer)(uint32_t, uint32_t);\n"
                "uint32_t moevit_read(uint32_t offset) { return reader(offset); }\n"
                "void moevit_write(uint32_t offset, uint32_t value) { writer(offset, value); }\n")
    library = ctypes.CDLL(str(compiled(headers, declared, "-shared", "-fPIC")))
    device = GoldenDevice(CONFIG)
    read = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_uint32)(device.read_register)
    write = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32)(device.write_register)
    for name, function in (("reader", read), ("writer", write)):
        ctypes.c_void_p.in_dll(library, name).value = ctypes.cast(function, ctypes.c_void_p).value
    image, manifest = random_image("tiny_test"), bundle.manifest
    cells = lay_cells(image, manifest["image"]["patch"], manifest["image"]["cell"]).tobytes()
    buffers = []
    for content in (bundle.program, bundle.weights, bundle.gates, cells, bytes(1 << 16)):
        buffers.append(device.allocate(-(-len(content) // 4096) * 4096))
        buffers[-1].array[:len(content)] = np.frombuffer(content, np.uint8)
        buffers[-1].flush()
    program, weights, gates, picture, output = (ctypes.c_uint64(each.address) for each in buffers)
    end = ctypes.c_uint64(buffers[-1].address + len(buffers[-1].array))
    assert library.moevit_open() == 0
    library.moevit_load(program, weights, program, output, output, end)
    for task in range(len(bundle.tasks)):
        assert library.moevit_run(gates, task, picture, output) == 0
        buffers[-1].invalidate()
        size = 2 * manifest["output"]["tokens"] * manifest["output"]["words"] * manifest["output"]["lanes"]
        tokens = tokens_of(bundle, buffers[-1].array[:size], False)
        np.testing.assert_array_equal(tokens, IntegerModel(model_of("tiny_test")).run(image, task).tokens)
    library.moevit_load(program, weights, program, weights, output, end)
    assert library.moevit_run(gates, 0, picture, output) == ErrorCode.READ_WINDOW
    device._set("MAGIC", 0)
    assert library.moevit_open() == -1


def test_export_writes_what_the_page_lists(tmp_path, bundle, monkeypatch):
    from moevit.cli import export

    monkeypatch.setattr(export, "machine_rtl", lambda config, trace: bare_rtl(config.name))
    bundle.save(tmp_path / "a.bundle")

    def run(*arguments):
        return CliRunner().invoke(app, ["export", "-o", str(tmp_path / "ip"), *map(str, arguments)],
                                  env={"COLUMNS": "200"})

    done = run("--config", "8x8", "--bundle", tmp_path / "a.bundle")
    assert done.exit_code == 0, done.output
    listed = {name.replace("16x16", "8x8") for row in re.findall(r"(?m)^\| (`.*?) \|", PAGE.read_text().split("## ")[0])
              for name in re.findall(r"`([\w.]+)`", row)}
    assert {path.name for path in (tmp_path / "ip").iterdir()} | {"manifest.json"} == listed  # of a real core
    assert (tmp_path / "ip" / "weights.bin").read_bytes() == bundle.weights
    for arguments, code, message in (((), 2, "either --config or --board"),
                                     (("--config", "8x8", "--board", "kv260"), 2, "either --config or --board"),
                                     (("--board", "pynq-z2", "--bundle", tmp_path / "a.bundle"), 1,
                                      "compiled for 8x8, not for 16x16"),
                                     (("--config", "8x8", "--bundle", PAGE), 1, "is not a bundle")):
        done = run(*arguments)
        assert done.exit_code == code and message in " ".join(done.output.split()), done.output


def test_comments_stay_comments():
    assert c_header._define("A", 1, "x */ y") == "#define MOEVIT_A 1u  /* x * / y */"
