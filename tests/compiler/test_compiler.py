# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest
from typer.testing import CliRunner

from moevit.cli.app import app
from moevit.compiler.assemble import compile_model
from moevit.compiler.disassemble import disassemble
from moevit.compiler.packing import gate_digits, pack_linear, pad_groups
from moevit.compiler.plan import DoesNotFit, Plan, check_fit, reasons_against
from moevit.golden.quant.synthetic import synthetic_model
from moevit.spec.arrays import CONFIGS
from moevit.spec.bundle import Bundle
from moevit.spec.heads import HeadError
from moevit.spec.isa import Opcode, Region, decode
from moevit.spec.networks import NETWORKS
from moevit.spec.parts import Part
from moevit.spec.quantised import QuantisedModelError

from ..configs import TEST_CONFIGS


def instructions(bundle: Bundle) -> list[dict[str, int]]:
    return [decode(words) for words in np.frombuffer(bundle.program, "<u4").reshape(-1, 16)]


@pytest.mark.parametrize("config", TEST_CONFIGS.values(), ids=TEST_CONFIGS)
def test_streams_are_contiguous_and_used_once(tiny_model, config):
    """Every weight byte belongs to exactly one instruction (and expert), in the order of their use."""
    bundle = compile_model(tiny_model, config)
    experts, at = tiny_model.network.experts, {Region.WEIGHTS: 0, Region.GATES: 0}
    for instruction in instructions(bundle):
        if instruction.get("region") in at:
            stream = Region(instruction["region"])
            assert instruction["region_offset"] == at[stream]
            copies = experts if instruction.get("expert_beats") else 1
            at[stream] += copies * instruction["region_beats"] * config.bus_bytes
    assert at[Region.WEIGHTS] == len(bundle.weights)
    assert at[Region.GATES] <= bundle.manifest["gate_stride"]
    assert len(bundle.gates) == len(bundle.tasks) * bundle.manifest["gate_stride"]


def test_tasks_share_everything_but_the_gates(tiny_model):
    bundle = compile_model(tiny_model, CONFIGS["8x8"])
    gates = [i for i in instructions(bundle) if i.get("region") == Region.GATES]
    assert len(gates) == 1 and bundle.tasks == ("semseg", "depth")
    stride = bundle.manifest["gate_stride"]
    assert bundle.gates[:stride] != bundle.gates[stride:]


def test_experts_fetched_early(tiny_model):
    """The model says how many for each block, or the caller for all. The manifest numbers the experts."""
    name = "blocks.1.moe.speculate"
    model = dataclasses.replace(tiny_model, tensors={**tiny_model.tensors, name: np.asarray(3, np.uint8)})
    for speculate, expected in ((None, 3), (0, 0), (4, 4)):
        bundle = compile_model(model, CONFIGS["8x8"], speculate=speculate)
        assert [i["speculate"] for i in instructions(bundle) if i["opcode"] == Opcode.EXPERTS] == [expected]
    orders = {entry["name"]: entry["experts"] for entry in bundle.manifest["instructions"] if "experts" in entry}
    assert orders == dict.fromkeys(("blocks.1.moe.fc1", "blocks.1.moe.fc2"), model["blocks.1.moe.order"].tolist())
    for wrong in (-1, 5):
        with pytest.raises(QuantisedModelError, match=f"tiny_test has 4 experts, {wrong} cannot be fetched early"):
            compile_model(model, CONFIGS["8x8"], speculate=wrong)


def test_program_ends_and_names_every_instruction(tiny_model):
    bundle = compile_model(tiny_model, CONFIGS["8x16"])
    assert instructions(bundle)[-1]["opcode"] == Opcode.END
    assert len(bundle.manifest["instructions"]) == bundle.program_length
    macs = sum(entry["macs_per_row"] for entry in bundle.manifest["instructions"])
    assert macs > 0
    text = disassemble(bundle)
    assert len(text.splitlines()) == bundle.program_length and "blocks.1.moe.gate" in text and "operand=exp" in text


def test_entries_say_what_instructions_are():
    """Each tensor layer has its part, block and head; no part is missing between the two kinds of network."""
    tiny = NETWORKS["tiny_test"]
    more = dataclasses.replace(tiny, name="more", shared_hidden=32, task_fc2=True, select_bias=True, gate="sigmoid")
    found = set()
    for network in (tiny, more):
        entries = compile_model(synthetic_model(network, 3), CONFIGS["8x8"]).manifest["instructions"]
        found |= {entry["part"] for entry in entries}
        for entry in entries:
            part, block, name = Part(entry["part"]), entry["block"], entry["name"]
            assert name.startswith(f"blocks.{block}.") if block is not None else not name.startswith("blocks.")
            assert entry.get("head") == (int(name[-1]) if part in (Part.LOGIT, Part.MIX) else None)
            assert ("experts" in entry) == (part in (Part.EXPERT_FC1, Part.EXPERT_FC2))
    assert found == {part.value for part in Part}


def test_network_that_does_not_fit_is_refused_with_the_nearest_that_does():
    with pytest.raises(DoesNotFit, match="m3vit_small does not fit 16x16 .*residual memory words.*nearest .* is 32x32"):
        check_fit(NETWORKS["m3vit_small"], CONFIGS["16x16"])
    with pytest.raises(DoesNotFit, match="residual memory words: needs 3258, has 3096; .*nearest .* is 32x64_long"):
        check_fit(NETWORKS["m3vit_tiny"].for_image(1024, 256), CONFIGS["64x64"])
    with pytest.raises(DoesNotFit, match="residual memory words: needs 12672, has 3096; .*no named configuration"):
        check_fit(NETWORKS["m3vit_small"].for_image(1024, 512), CONFIGS["64x64"])
    long = NETWORKS["tiny_test"].for_image(512, 2080)
    assert "tokens that a product adds up: needs 16641, has 2072" in reasons_against(long, CONFIGS["64x64"])
    assert "patches side by side: needs 260, has 255" in reasons_against(long, CONFIGS["64x64"])
    wide = dataclasses.replace(NETWORKS["tiny_test"], name="wide", dim=2048, heads=64)
    assert "channels of a token: needs 2048, has 2047" in reasons_against(wide, CONFIGS["64x64"])


@pytest.mark.parametrize("batch", [1, 3])
def test_a_batch_takes_the_weights_once(tiny_model, batch):
    bundle = compile_model(tiny_model, CONFIGS["8x16"], batch=batch)
    assert bundle.manifest["batch"] == batch
    assert len(bundle.weights) == len(compile_model(tiny_model, CONFIGS["8x16"]).weights)
    logits = [entry["name"] for entry in bundle.manifest["instructions"] if entry["part"] == "logit"]
    assert len(set(logits)) == len(logits) == batch * tiny_model.network.heads * tiny_model.network.depth


def test_batch_that_does_not_fit_is_refused():
    tiny = NETWORKS["m3vit_tiny"]
    for name in ("32x64", "64x64"):
        assert not reasons_against(tiny, CONFIGS[name], 4)
    with pytest.raises(DoesNotFit, match="m3vit_tiny with a batch of 2 does not fit 16x16 .tokens: needs 258, has 256; "
                                         "residual memory words: needs 6192.*nearest .* is 32x64"):
        check_fit(tiny, CONFIGS["16x16"], 2)
    with pytest.raises(DoesNotFit, match="images of a batch: needs 9, has 8"):
        check_fit(NETWORKS["tiny_test"], CONFIGS["64x64"], 9)
    with pytest.raises(DoesNotFit, match="at least 1 image, not 0"):
        check_fit(tiny, CONFIGS["64x64"], 0)


def test_row_ranges_share_their_weights():
    """49 tokens on a machine for 32: passes repeat, and their bytes lie in memory once."""
    network = dataclasses.replace(NETWORKS["tiny_test"], name="tiny_48x64", height=48, width=64)
    model, config = synthetic_model(network, 3), CONFIGS["8x8"]
    roomy = dataclasses.replace(config, name="roomy", max_tokens=64, residual_words=1024, hidden_words=2048)
    cut, whole = compile_model(model, config), compile_model(model, roomy)
    assert len(cut.weights) == len(whole.weights) and cut.gates == whole.gates
    names = [[entry["name"] for entry in bundle.manifest["instructions"]] for bundle in (cut, whole)]
    assert names[0].count("blocks.1.moe.fc1") == 4 and names[1].count("blocks.1.moe.fc1") == 1
    assert set(names[0]) == set(names[1])


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "tiny_test"])
@pytest.mark.parametrize("tokens", [200, 1200])
def test_row_ranges_cover_all_rows_and_fit(name, tokens):
    """For memories of any size: row ranges follow one another, begin with a unit, and are short enough."""
    network = dataclasses.replace(NETWORKS[name], height=20 * NETWORKS[name].patch,
                                  width=tokens // 20 * NETWORKS[name].patch)
    random = np.random.default_rng(12)
    for _ in range(30):
        config = dataclasses.replace(CONFIGS["32x64"], residual_words=int(random.integers(4000, 60000)),
                                     hidden_words=int(random.integers(2000, 60000)), kv_words=1 << 17,
                                     max_tokens=1 << int(random.integers(7, 11)))
        plan = Plan(network, config)
        if reasons_against(network, config):
            continue
        parts = {"whole_rows": (network.tokens, 2), "embedding": (network.patches, tokens // 20),
                 "attention": (network.tokens, 1), "dense": (network.tokens, 1),
                 **({"moe": (network.tokens, 1)} if network.experts else {})}
        for part, (rows, unit) in parts.items():
            ranges = getattr(plan, part)
            ends = [0, *(each.start + each.length for each in ranges)]
            assert [each.start for each in ranges] == ends[:-1] and ends[-1] == rows
            assert all(each.start % unit == 0 and 0 < each.length <= config.max_tokens for each in ranges)
        copied = plan.moe[0].length if network.experts else 0
        assert plan.copy + copied * plan.dim_words <= config.residual_words
        rows = plan.attention[0].length
        assert rows * (plan.heads_words + 2 * plan.logit_words) <= config.hidden_words


def test_program_longer_than_the_program_memory_is_refused(tiny_model):
    short = dataclasses.replace(CONFIGS["8x8"], name="short", program_length=16)
    with pytest.raises(DoesNotFit, match="needs 31 instructions, short holds 16"):
        compile_model(tiny_model, short)


def test_gate_digits_compose_the_weight():
    weight = np.arange(-16319, 16320)[None]
    low, high, again = np.split(gate_digits(CONFIGS["8x8"], weight).astype(int), 3, axis=1)
    np.testing.assert_array_equal(high * 128 + low, weight)
    np.testing.assert_array_equal(high, again)


def test_gate_digits_of_two_sweeps():
    """The row's high digit is multiplied by both digits, in separate lanes, its low digit by the high digit alone."""
    config, experts = CONFIGS["8x16"], 5
    weight = np.random.default_rng(6).integers(-16319, 16320, (experts, 24))
    low, high, _ = np.split(gate_digits(CONFIGS["8x8"], weight), 3, axis=1)
    outputs = np.zeros((2 * config.max_experts, 48), np.int8)
    outputs[:experts] = np.concatenate([low, high], axis=1)
    outputs[config.max_experts:][:experts, :24] = high
    packed = gate_digits(config, weight)
    np.testing.assert_array_equal(packed, outputs[:len(packed)])
    np.testing.assert_array_equal(packed[config.max_experts:], outputs[config.max_experts:][:experts])
    stream = pack_linear(config, packed, np.arange(experts) + 1, np.full(experts, -1))
    assert len(stream) == 4 * 16 + 2 * 3 * 16 * 8
    columns = np.frombuffer(stream[:64], "<i2").reshape(16, 2)
    np.testing.assert_array_equal(columns, [*([expert + 1, -1] for expert in range(experts)), *[[0, 0]] * 11])


def test_pack_linear_places_column_parameters_then_tiles():
    config = CONFIGS["8x16"]
    weight = np.arange(20 * 16).reshape(20, 16).astype(np.int8)
    stream = pack_linear(config, weight, np.arange(20) + 1000, -np.arange(20))
    per_tile = 4 * 16 + 2 * 16 * 8
    assert len(stream) == 2 * per_tile
    columns = np.frombuffer(stream[:64], "<i2").reshape(16, 2)
    np.testing.assert_array_equal(columns[:, 0], np.arange(16) + 1000)
    np.testing.assert_array_equal(columns[:, 1], -np.arange(16))
    second = np.frombuffer(stream[64 + 128:64 + 256], np.int8).reshape(16, 8)  # n-tile 0, k-tile 1
    np.testing.assert_array_equal(second, weight[:16, 8:])
    last = np.frombuffer(stream[per_tile + 64:per_tile + 64 + 128], np.int8).reshape(16, 8)
    np.testing.assert_array_equal(last[:4], weight[16:, :8])
    assert not last[4:].any()


def test_pad_groups():
    padded = pad_groups(np.arange(6)[None], 1, 2, 4)
    np.testing.assert_array_equal(padded, [[0, 1, 2, 0, 3, 4, 5, 0]])


def test_a_shift_that_no_instruction_holds(tiny_model, tmp_path):
    tensors = {**tiny_model.tensors, "patch_embed.shift": np.array(255, np.uint8)}
    dataclasses.replace(tiny_model, tensors=tensors).save(tmp_path / "model.npz")
    arguments = ["compile", str(tmp_path / "model.npz"), "-o", str(tmp_path / "a"), "--config", "8x8"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1 and "shift = 255 does not fit 6 bits" in " ".join(done.output.split())


def test_heads_are_those_of_the_tasks(tiny_model, tmp_path):
    tiny_model.save(tmp_path / "model.npz")
    target = tmp_path / "a.bundle"

    def compiled(**arrays):
        np.savez(tmp_path / "heads.npz", **arrays)
        done = CliRunner().invoke(app, ["compile", str(tmp_path / "model.npz"), "-o", str(target), "--config", "8x8",
                                        "--heads", str(tmp_path / "heads.npz")])
        return done.exit_code, " ".join(done.output.split())

    for arrays in ({}, {"images": np.zeros(3)}, {"heads.edges.fc.bias": np.zeros(3)}):
        code, output = compiled(**arrays)
        assert code == 2 and "heads.semseg. or heads.depth." in output and not target.exists()
    head = {"norm.weight": np.ones(32), "norm.bias": np.ones(32), "fc.weight": np.ones((3, 32))}
    head = {f"heads.depth.{name}": value for name, value in head.items()}
    code, output = compiled(**head)
    assert code == 1 and "heads.depth.fc.bias is missing" in output and not target.exists()
    assert compiled(**head, **{"heads.depth.fc.bias": np.arange(3.0), "heads.edges.fc.bias": np.zeros(3)})[0] == 0
    assert Bundle.load(target).heads["heads.depth.fc.bias"].tolist() == [0, 1, 2]


def test_heads_of_a_model_travel_with_what_is_said_of_them(tiny_model, tmp_path):
    arrays = {"heads.classifier.fc.weight": np.ones((5, 32), np.float32), "heads.classifier.fc.bias": np.arange(5.0)}
    host = {"heads": {"classifier": {"pool": "cls", "norm": "none", "task": None}}, "source": {"family": "own"}}
    model = dataclasses.replace(tiny_model, heads=arrays, host=host)
    compile_model(model, CONFIGS["8x8"]).save(tmp_path / "a.bundle")
    bundle = Bundle.load(tmp_path / "a.bundle")
    assert bundle.manifest["host"] == host
    np.testing.assert_array_equal(bundle.heads["heads.classifier.fc.bias"], np.arange(5))
    misshapen = {**arrays, "heads.classifier.fc.weight": np.ones((5, 64), np.float32)}
    with pytest.raises(HeadError, match=r"must be \(outputs, 32\) and"):
        compile_model(dataclasses.replace(model, heads=misshapen), CONFIGS["8x8"])
    other = compile_model(model, CONFIGS["8x8"], heads={})
    assert other.manifest["host"] == {"source": {"family": "own"}} and not other.heads


def test_command_line(tiny_model, tmp_path):
    tiny_model.save(tmp_path / "model.npz")
    runner = CliRunner()
    target = tmp_path / "a.bundle"
    result = runner.invoke(app, ["compile", str(tmp_path / "model.npz"), "-o", str(target), "--config", "8x8"])
    assert result.exit_code == 0, result.output
    assert Bundle.load(target).manifest["config"] == "8x8"
    arguments = ["compile", str(tmp_path / "model.npz"), "-o", str(target), "--config", "8x8", "--speculate"]
    for speculate in (0, 1):
        assert runner.invoke(app, [*arguments, str(speculate)]).exit_code == 0
        assert (f"speculate={speculate}" in disassemble(Bundle.load(target))) == bool(speculate)
    result = runner.invoke(app, [*arguments, "9"])
    assert result.exit_code == 1 and "has 4 experts, 9 cannot" in result.output
    several = ["compile", str(tmp_path / "model.npz"), "-o", str(target), "--config", "8x8", "--batch"]
    assert runner.invoke(app, [*several, "4"]).exit_code == 1
    assert runner.invoke(app, [*several, "2"]).exit_code == 0 and Bundle.load(target).manifest["batch"] == 2
    result = runner.invoke(app, ["disassemble", str(target)])
    assert result.exit_code == 0 and "PASS" in result.output
    fit = runner.invoke(app, ["fit"])
    assert fit.exit_code == 0 and "m3vit_small on 16x16: residual memory words: needs 3456, has 3096;" in fit.output
    assert runner.invoke(app, ["disassemble", str(tmp_path / "none")]).exit_code == 1
    (tmp_path / "bad.npz").write_bytes(b"no")
    assert runner.invoke(app, ["compile", str(tmp_path / "bad.npz"), "-o", str(target)]).exit_code == 1
    assert runner.invoke(app, ["compile", str(tmp_path / "model.npz"), "-o", "x", "--config", "9x9"]).exit_code == 2
