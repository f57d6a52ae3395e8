# %% [markdown]
# <!-- SPDX-License-Identifier: Apache-2.0 -->
# # Your model
#
# From a PyTorch checkpoint to the machine: quantise, see what it cost, know the cycles before anything has run,
# compile, run, compare. Here with the demo's checkpoint; for yours, change the next cell. What a checkpoint must
# hold is said in `golden/reference/checkpoint.py`.
#
# Quantising needs PyTorch (`pip install 'moevit[golden]'`), so this notebook is for a PC. The bundle that it writes
# is what a board needs.

# %%
from moevit.notebooks import find, machine

CHECKPOINT = find("demo.safetensors")
CONFIG = "16x16"  # of the array, see `spec/arrays.py`

# %%
from pathlib import Path

import numpy as np
from IPython.display import SVG, Markdown

from moevit.report import heatmap
from moevit.report.bars import prediction
from moevit.spec.arrays import CONFIGS
from moevit.spec.boards import BOARDS

try:
    from moevit.golden.demo.scenes import CLASSES, Scenes
    from moevit.golden.integer.model import IntegerModel
    from moevit.golden.quant.fidelity import compare
    from moevit.golden.quant.images import photographs
    from moevit.golden.quant.quantiser import quantise
    from moevit.golden.reference import load_state, pixels, read
except ImportError as error:
    raise ImportError(f"{error}: this notebook needs PyTorch and the demo's pictures, "
                      "pip install 'moevit[golden]'") from error

# %% [markdown]
# ## Read
#
# The file says which network it is, and every tensor is checked against it.

# %%
network, state, _ = read(CHECKPOINT)
reference = load_state(network, state)
tensors = {name: tensor.numpy() for name, tensor in state.items()}
print(f"{network.name}: {network.depth} blocks, {network.dim} channels, {network.tokens} tokens, "
      f"{network.experts} experts of which a token uses {network.top_k}, tasks {', '.join(network.tasks)}")
print(f"{sum(tensor.size for tensor in tensors.values()):,} float parameters in {CHECKPOINT.name}")

# %% [markdown]
# ## Quantise
#
# Sixteen images tell the ranges. Photographs do; images like those that the network will see do better.

# %%
calibration = photographs(network, 16)
model = quantise(network, tensors, calibration)

output = Path("your_model")
output.mkdir(exist_ok=True)
model.save(output / "model.npz")
print(f"{output / 'model.npz'}: tokens are integers x 2^-{model.residual_fraction}")

# %% [markdown]
# ## What it cost, tensor by tensor
#
# Signal to quantisation noise in dB against the float model: 40 dB is an error of one hundredth. The lines above it say
# which share of tokens goes to the same experts.

# %%
fidelity = compare(reference, model, calibration[:2])
print(f"tokens at the end {fidelity.sqnr['tokens']:.1f} dB, {sum(fidelity.saturated.values())} values saturated")
for block, share in fidelity.routing.items():
    print(f"block {block}: {share:.2%} of tokens go to the experts of the float model")

# %%
SVG(heatmap.fidelity(fidelity.sqnr, network.depth, 1000))

# %% [markdown]
# ## What it cost, in answers
#
# The demo's scenes have labels, and its checkpoint has heads. For your model, put your own labelled images here.

# %%
from moevit.host.heads import confusion_matrix, mean_iou, read_heads, rmse

import torch  # isort: skip

images, *labels = Scenes("test").batch(0, 24)
labels = dict(zip(("semseg", "depth"), labels, strict=True))
heads, integer = read_heads(network, tensors), IntegerModel(model)
frames = {task: [integer.run(image, index) for image in images] for index, task in enumerate(network.tasks)}


def score(task, tokens):
    outputs = heads[task](tokens)
    if task == "semseg":
        return mean_iou(confusion_matrix(labels[task], outputs.argmax(-1), len(CLASSES)))
    return rmse(labels[task], outputs[..., 0])


scores = {}
for task in network.tasks:
    with torch.no_grad():
        floats = reference(pixels(images), task).numpy()
    integers = np.stack([frame.tokens for frame in frames[task]]).astype(np.float32) / 2**model.residual_fraction
    scores[task] = score(task, floats), score(task, integers)
measures = {"semseg": "mIoU", "depth": "RMSE"}
Markdown("\n".join([f"| {len(images)} scenes | measure | float | integer |", "|---|---|---|---|"] + [
    f"| {task} | {measures[task]} | {before:.4f} | {after:.4f} |" for task, (before, after) in scores.items()]))

# %% [markdown]
# ## What it will take
#
# The performance model needs the network's shape and how many tokens each expert gets; the integer model says that
# for the first scene. Clocks are those assumed for the class of a board.

# %%
from moevit.compiler.plan import DoesNotFit
from moevit.estimator.estimate import estimate

task = network.tasks[0]
blocks = [block for block in range(network.depth) if network.is_moe(block)]
loads = {block: np.bincount(frames[task][0].trace[f"{block}.top_k_index"].ravel(), minlength=network.experts).tolist()
         for block in blocks}
early = {block: int(model[f"blocks.{block}.moe.speculate"]) for block in blocks}

rows = ["| class | array | cycles | clock, MHz (assumed) | ms | nearest bound |", "|---|---|---|---|---|---|"]
for board in BOARDS.values():
    try:
        found = estimate(network, CONFIGS[board.config], board, loads=loads, speculate=early)
    except DoesNotFit as error:
        rows.append(f"| {board.name} | {board.config} | does not fit: {error} | | | |")
    else:
        bound = "memory" if found.memory_bound > found.compute_bound else "compute"
        rows.append(f"| {board.name} | {board.config} | {found.cycles:,} | {board.clock_mhz:g} | "
                    f"{board.milliseconds(found.cycles):.2f} | {bound}, {found.bound / found.cycles:.0%} |")
Markdown("\n".join(rows))

# %% [markdown]
# ## Compile and run

# %%
from moevit.compiler.assemble import compile_model

expected = estimate(network, CONFIGS[CONFIG], loads=loads, speculate=early)
bundle = output / f"{CONFIG}.bundle"
own_heads = {name: tensor for name, tensor in tensors.items() if name.startswith("heads.")}
compile_model(model, CONFIGS[CONFIG], own_heads).save(bundle)

accelerator = machine(bundle)
tokens = accelerator.run_raw(images[0], task, timeout=600)
report = accelerator.report
different = int(np.count_nonzero(tokens != frames[task][0].tokens))
print(f"{tokens.size:,} values, {different} differ from the integer model")
print(f"{report.cycles:,} cycles, {expected.cycles:,} expected ({expected.cycles / report.cycles - 1:+.1%})")

# %% [markdown]
# The performance model predicts not only how many cycles, but also what they go into.

# %%
SVG(prediction(report.stalls, expected.timing.stalls, 1000))

# %%
accelerator.close()
