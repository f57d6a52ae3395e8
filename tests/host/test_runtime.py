# SPDX-License-Identifier: Apache-2.0
"""The runtime over the golden machine: results and refusals."""

import dataclasses

import numpy as np
import pytest

from moevit.compiler.assemble import compile_model
from moevit.golden.integer.model import IntegerModel
from moevit.host.errors import (
    AcceleratorTimeout,
    AccelError,
    BundleMismatch,
    BusError,
    Busy,
    DamagedBundle,
    NoMachine,
    OutOfContiguousMemory,
    ProgramRefused,
    VersionMismatch,
    WrongInput,
)
from moevit.host.runtime import Accelerator
from moevit.spec.arrays import CONFIGS
from moevit.spec.registers import MAGIC, VERSION, ErrorCode, offset

from .conftest import CONFIG, Spy


def test_runs_and_reports(loaded, tiny_model, tiny_image):
    network = tiny_model.network
    tokens = loaded.run(tiny_image, "depth")
    assert tokens.shape == (network.tokens, network.dim) and tokens.dtype == np.float32
    np.testing.assert_array_equal(tokens * 2**tiny_model.residual_fraction, loaded.run_raw(tiny_image, "depth"))
    report = loaded.last_run
    rows = report.expert_rows[1]
    assert sum(rows.values()) == network.tokens * network.top_k and 0 not in rows.values()
    order = tiny_model["blocks.1.moe.order"]
    chosen = IntegerModel(tiny_model).run(tiny_image, network.tasks.index("depth")).trace["1.top_k_index"]
    experts, counts = np.unique(order[chosen], return_counts=True)  # as the checkpoint numbers them
    assert rows == dict(zip(experts.tolist(), counts.tolist(), strict=True)) and list(order) != sorted(order)
    assert report.macs > 0 and report.counters["BYTES_WRITTEN"] == 2 * network.tokens * network.dim
    assert sum(each.bytes for each in report.passes) + 64 * loaded.bundle.program_length \
        == report.counters["BYTES_READ"]


def test_many_runs_without_reset_are_identical(loaded, tiny_image):
    first = {task: loaded.run_raw(tiny_image, task) for task in loaded.tasks}
    for _ in range(5):
        for task in loaded.tasks:
            np.testing.assert_array_equal(loaded.run_raw(tiny_image, task), first[task])


def test_a_task_switch_writes_the_gates_register_alone(loaded, device, tiny_image):
    loaded.run(tiny_image, "semseg")
    device.writes.clear()
    loaded.run(tiny_image, "depth")
    assert device.writes == [offset("GATES_LOW"), offset("CONTROL")]
    device.writes.clear()
    loaded.run(tiny_image, "depth")
    assert device.writes == [offset("CONTROL")]


@pytest.mark.parametrize("image, task, message", [
    (np.zeros((16, 32, 3), np.float32), "depth", r"float32\[16, 32, 3\]"),
    (np.zeros((32, 16, 3), np.uint8), "depth", r"takes uint8\[16, 32, 3\]"),
    ([[[0, 0, 0]]], "depth", "the image is a list"), (None, "depth", "the image is a NoneType"),
    (np.zeros((16, 32, 3), np.uint8), "colour", "The tasks are semseg, depth"),
])
def test_wrong_input(loaded, image, task, message):
    with pytest.raises(WrongInput, match=message):
        loaded.run(image, task)


def test_a_batch_is_each_image_alone(loaded, device, tiny_model):
    network = tiny_model.network
    images = np.random.default_rng(8).integers(0, 256, (3, network.height, network.width, 3), dtype=np.uint8)
    alone = {task: np.stack([loaded.run_raw(image, task) for image in images]) for task in loaded.tasks}
    np.testing.assert_array_equal(loaded.run_raw(images[:1], "depth"), alone["depth"][:1])
    rows = {"alone": loaded.report.expert_rows[1]}
    loaded.load(compile_model(tiny_model, CONFIG, batch=3))
    for task in loaded.tasks:
        np.testing.assert_array_equal(loaded.run_raw(images, task), alone[task])
    assert sum(loaded.report.expert_rows[1].values()) == 3 * sum(rows["alone"].values())
    assert loaded.run(images, "depth").shape == (3, network.tokens, network.dim)
    for wrong, message in ((images[0], "1 image, .*batch of 3.*Run uint8.3, 16, 32, 3., or compile with --batch 1"),
                           (images[:2], "2 images, .*--batch 2"), (images[None], "takes uint8.3, 16, 32, 3.")):
        with pytest.raises(WrongInput, match=message):
            loaded.run(wrong, "depth")


def test_image_need_not_be_contiguous(loaded, tiny_image):
    other = np.asfortranarray(tiny_image)
    np.testing.assert_array_equal(loaded.run_raw(other, "depth"), loaded.run_raw(tiny_image, "depth"))


def test_nothing_loaded(device, tiny_image):
    with pytest.raises(AccelError, match=r"Call load\(\) first"):
        Accelerator(device).run(tiny_image, "depth")


def test_no_machine_and_other_version(device):
    device.answer(MAGIC=0xFFFFFFFF)
    with pytest.raises(NoMachine, match="Load the bitstream"):
        Accelerator(device)
    device.answer(MAGIC=MAGIC, VERSION=VERSION + (1 << 24))
    with pytest.raises(VersionMismatch, match="one release"):
        Accelerator(device)


def test_bundle_for_another_configuration(device, tiny_model):
    accelerator = Accelerator(device)
    with pytest.raises(BundleMismatch, match=r"configuration 8x16 .* this machine is 0x"):
        accelerator.load(compile_model(tiny_model, CONFIGS["8x16"]))
    assert not device.buffers


def test_damaged_file_loads_nothing(device, bundle, tmp_path):
    path = tmp_path / "a.bundle"
    bundle.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DamagedBundle, match="(weights|gates).*Copy or compile it again"):
        Accelerator(device).load(path)
    assert not device.buffers


def test_out_of_memory_keeps_nothing(bundle):
    device = Spy(memory_bytes=1 << 14)
    accelerator = Accelerator(device)
    with pytest.raises(OutOfContiguousMemory, match="CMA"):
        accelerator.load(bundle)
    assert all(not len(buffer.array) for buffer in device.buffers)
    with pytest.raises(AccelError, match="no bundle"):
        accelerator.tasks  # noqa: B018


def test_device_that_fails_while_loading_keeps_nothing(device, bundle):
    accelerator = Accelerator(device)
    device.write_register = lambda at, value: (_ for _ in ()).throw(AccelError("the bus is gone"))
    with pytest.raises(AccelError, match="the bus is gone"):
        accelerator.load(bundle)
    assert device.buffers and all(not len(buffer.array) for buffer in device.buffers)
    with pytest.raises(AccelError, match="no bundle"):
        accelerator.tasks  # noqa: B018


def test_busy(loaded, device, tiny_image):
    device.answer(CONTROL=0)
    with pytest.raises(Busy):
        loaded.run(tiny_image, "depth")


def test_no_end_in_time(loaded, device, tiny_image):
    device.late = True
    with pytest.raises(AcceleratorTimeout, match="no end after 0.5 s") as caught:
        loaded.run(tiny_image, "depth", timeout=0.5)
    assert "stalls" in caught.value.state


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), 1e7, 10**400, True, "60"])
def test_a_timeout_is_a_number_of_seconds(loaded, tiny_image, timeout):
    with pytest.raises(WrongInput, match="number of seconds"):
        loaded.run(tiny_image, "depth", timeout=timeout)
    with pytest.raises(WrongInput, match="number of seconds"):
        next(loaded.stream([tiny_image], "depth", timeout=timeout))
    assert loaded.run(tiny_image, "depth", timeout=np.float32(5)).any(), "nothing was started"


@pytest.mark.parametrize("code, error", [
    (ErrorCode.WATCHDOG, AcceleratorTimeout), (ErrorCode.READ_SLAVE, BusError), (ErrorCode.WRITE_WINDOW, BusError),
    (ErrorCode.ILLEGAL_OPCODE, ProgramRefused),
])
def test_errors_name_instruction_and_address(loaded, device, tiny_image, code, error):
    device.answer(ERROR_CODE=int(code), ERROR_PC=4, ERROR_ADDRESS_LOW=0x1234)
    with pytest.raises(error, match=f"{code.name} at instruction 4 .blocks.0.attn.key., address 0x1234"):
        loaded.run(tiny_image, "depth")


def test_a_program_that_leaves_its_window_is_stopped(device, bundle, tiny_image):
    short = dataclasses.replace(bundle, weights=bundle.weights[:64], gates=b"")
    accelerator = Accelerator(device)
    accelerator.load(short)
    with pytest.raises(BusError, match="READ_WINDOW"):
        accelerator.run(tiny_image, "depth")


def test_the_machine_may_touch_what_is_loaded_and_no_more(loaded, device, bundle):
    ends = [loaded.addresses[name] + size for name, size in
            (("gates", len(bundle.gates)), ("image1", 3 * 16 * 32), ("output1", 2 * 8 * loaded.bundle.manifest["output"]
             ["words"] * loaded.bundle.manifest["output"]["tokens"]))]
    window = [device.read_register(offset(f"{name}_LOW")) for name in
              ("READ_BASE", "READ_LIMIT", "WRITE_BASE", "WRITE_LIMIT")]
    assert window == [loaded.addresses["program"], max(ends[:2]), loaded.addresses["output0"], ends[2]]


@pytest.mark.parametrize("slow, watchdog", [(5, 200_000), (3_000_000, 3_000_000), (1 << 40, (1 << 32) - 1)])
def test_the_watchdog_waits_as_long_as_a_slow_memory(loaded, device, bundle, slow, watchdog):
    loaded.load(dataclasses.replace(bundle, manifest={**bundle.manifest, "deadline_cycles": slow}))
    assert device.read_register(offset("WATCHDOG")) == watchdog


def test_nothing_works_after_close(loaded, device, bundle, tiny_image):
    loaded.close()
    device.writes.clear()
    for call in (lambda: loaded.load(bundle), loaded.reset, lambda: loaded.run(tiny_image, "depth"),
                 lambda: next(loaded.stream([tiny_image], "depth"))):
        with pytest.raises(AccelError, match="is closed"):
            call()
    assert not device.writes


def test_memory_is_used_again(bundle):
    device = Spy(memory_bytes=1 << 19)
    with Accelerator(device) as accelerator:
        for _ in range(20):
            accelerator.load(bundle)
        left = device.free_bytes()
    assert left < device.free_bytes() == 1 << 19


def test_reset(loaded, device):
    loaded.reset()
    device.answer(CONTROL=0)
    with pytest.raises(AcceleratorTimeout, match="Reload the bitstream"):
        loaded.reset()


def test_close_frees_everything(device, bundle):
    with Accelerator(device) as accelerator:
        accelerator.load(bundle)
    assert all(not len(buffer.array) for buffer in device.buffers)
