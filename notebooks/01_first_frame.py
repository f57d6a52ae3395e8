# %% [markdown]
# <!-- SPDX-License-Identifier: Apache-2.0 -->
# # A first frame
#
# One image goes through the machine twice: once to say *what* is in it (segmentation), once to say *how far away*
# it is (depth). Both tasks use the same weights. What differs is one register: the address of the gates, which
# choose the experts of each token.
#
# The cells are the same on a board and on a PC. Where PYNQ finds no board, the machine's RTL runs in a simulation,
# and gives the same integers.

# %%
import matplotlib.pyplot as plt
import numpy as np

from moevit.host.heads import confusion_matrix, mean_iou, read_heads, rmse
from moevit.kit.npz import read_npz
from moevit.notebooks import find, machine
from moevit.report.colours import DEPTH, WRONG, class_map, value_map
from moevit.spec.networks import Network

# %% [markdown]
# ## Load
#
# A *bundle* is a compiled network: a program, weights in the order of their use, gates for each task, and the task
# heads, which run on the host.

# %%
accelerator = machine(find("*.bundle"))
bundle = accelerator.bundle
network = Network(**{**bundle.manifest["network"], "tasks": bundle.tasks})
print(f"{network.name}: {network.depth} blocks, {network.tokens} tokens of {network.dim} channels, "
      f"{network.experts} experts of which a token uses {network.top_k}")
print(f"{bundle.program_length} instructions, {len(bundle.weights):,} bytes of weights, tasks "
      f"{' and '.join(bundle.tasks)}")

# %% [markdown]
# ## Run both tasks
#
# The scenes are photographs with handwritten digits on cards, from the part of the data that training has not seen.
# A nearer card is larger and brighter. A board needs about a millisecond for a frame; the simulation may take a minute
# and gets ten.

# %%
scenes = read_npz(find("scenes.npz"))
image = scenes["images"][0]
tokens, cycles = {}, {}
for task in bundle.tasks:
    tokens[task] = accelerator.run(image, task, timeout=600)
    cycles[task] = accelerator.report.cycles
    print(f"{task:8} {cycles[task]:,} cycles, tokens {tokens[task].shape}")

# %% [markdown]
# ## Are these the right numbers?
#
# The file of scenes also holds what the integer model, in numpy, makes of the image. The machine must return
# exactly that; there is no tolerance.

# %%
different = {}
for task in bundle.tasks:
    stored = tokens[task] * 2 ** bundle.manifest["output"]["fraction"]
    different[task] = int(np.count_nonzero(stored != scenes[f"integer_{task}"][0]))
    print(f"{task:8} {stored.size:,} values, {different[task]} differ from the integer model")

# %% [markdown]
# ## From tokens to answers
#
# A head is a LayerNorm and one linear layer for each patch.

# %%
heads = read_heads(network, bundle.heads)
classes = heads["semseg"](tokens["semseg"]).argmax(-1)
depths = heads["depth"](tokens["depth"])[:, 0]

names = ["background", *"0123456789"]
iou = mean_iou(confusion_matrix(scenes["semseg"][0], classes, len(names)))
error = rmse(scenes["depth"][0], depths)
print(f"this scene: mIoU {iou:.1%}, depth RMSE {error:.3f}")

# %% [markdown]
# ## Look at it
#
# Labels and answers have one value for each patch. Bottom left: patches whose class is not the label's.

# %%
grid = network.height // network.patch, network.width // network.patch
whole = (0, network.width, network.height, 0)
colours = class_map(len(names))

figure, axes = plt.subplots(2, 3, figsize=(12, 4.6), layout="constrained")
wrong = (classes != scenes["semseg"][0]).reshape(grid)
axes[0, 0].imshow(image, extent=whole)
axes[0, 0].set_title("input")
axes[1, 0].imshow(image // 2, extent=whole)
axes[1, 0].imshow(np.ma.masked_equal(wrong, False), extent=whole, cmap=value_map((WRONG, WRONG)), alpha=0.8)
axes[1, 0].set_title(f"{wrong.sum()} of {wrong.size} patches in another class")
for axis, values, title in zip(axes[0, 1:], (scenes["semseg"][0], classes), ("labels", "machine"), strict=True):
    what = axis.imshow(values.reshape(grid), extent=whole, cmap=colours, vmin=-0.5, vmax=len(names) - 0.5)
    axis.set_title(f"segmentation: {title}")
for axis, values, title in zip(axes[1, 1:], (scenes["depth"][0], depths), ("labels", "machine"), strict=True):
    far = axis.imshow(values.reshape(grid), extent=whole, cmap=value_map(DEPTH), vmin=0, vmax=1)
    axis.set_title(f"depth: {title}")
for axis in axes.flat:
    axis.set_xticks([])
    axis.set_yticks([])
figure.colorbar(what, ax=axes[0], ticks=range(len(names)), label="digit").ax.set_yticklabels(["none", *names[1:]])
figure.colorbar(far, ax=axes[1], label="distance, 1 is farthest")
plt.show()

# %% [markdown]
# `02_inside` shows where the cycles went and what the experts did; `03_your_model` starts from a checkpoint.

# %%
accelerator.close()
