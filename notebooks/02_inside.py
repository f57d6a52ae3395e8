# %% [markdown]
# <!-- SPDX-License-Identifier: Apache-2.0 -->
# # Inside a frame
#
# The machine counts its own cycles and logs every pass. This notebook draws what it says of a frame: which pass
# took how long, how near to the limits of array and memory it came, where the other cycles went, and what the
# experts did.

# %%
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullLocator

from moevit.host.errors import MissingFile
from moevit.host.report import KINDS
from moevit.kit.npz import read_npz
from moevit.notebooks import find, machine
from moevit.spec.arrays import CONFIGS
from moevit.spec.networks import Network
from moevit.spec.parts import Part

# %%
accelerator = machine(find("*.bundle"))
bundle = accelerator.bundle
network = Network(**{**bundle.manifest["network"], "tasks": bundle.tasks})
config = CONFIGS[bundle.manifest["config"]]
scenes = read_npz(find("scenes.npz"))
image = scenes["images"][0]

reports = {}
for task in bundle.tasks:
    accelerator.run(image, task, timeout=600)
    reports[task] = accelerator.report
    busy = reports[task].macs / (reports[task].cycles * config.macs_per_cycle)
    print(f"{task:8} {reports[task].cycles:,} cycles, {reports[task].macs:,} multiply-accumulates, "
          f"{busy:.1%} of what the array could do")

# %% [markdown]
# ## Cycles, pass by pass
#
# A frame is a list of passes: rows through the array, weights standing still. The log has the cycle in which each
# pass stored its last row. A bar goes from the end of the pass before to its own end, so the bars fill the frame.

# %%
COLOURS = dict(zip(dict.fromkeys(KINDS.values()), plt.get_cmap("tab10").colors, strict=False))
ROWS = ["patches", *(f"block {block}" for block in range(network.depth)), "output"]


def row(each):
    if each.block is not None:
        return 1 + each.block
    return len(ROWS) - 1 if each.part is Part.OUTPUT else 0


task = bundle.tasks[0]
figure, axis = plt.subplots(figsize=(12, 3.6), layout="constrained")
for name, colour in COLOURS.items():
    for each in reports[task].passes:
        if KINDS[each.part] == name:
            began = each.end - each.cycles
            axis.barh(row(each), each.cycles / 1e3, left=began / 1e3, color=colour)
    axis.bar(0, 0, color=colour, label=name)
axis.set_yticks(range(len(ROWS)), ROWS)
axis.invert_yaxis()
axis.set_xlim(0, reports[task].cycles / 1e3)
axis.set_xlabel("thousand cycles")
axis.set_title(f"{task}: {len(reports[task].passes)} passes, {reports[task].cycles:,} cycles")
figure.legend(loc="outside right upper", frameon=False)
plt.show()

# %% [markdown]
# ## The roofline
#
# Two things bound a pass: the array multiplies so many pairs per cycle, and the memory bus brings so many bytes per
# cycle. A pass below the roof waited for something else, or left lanes of the array empty. Passes whose operands
# are all on chip (logits, mix) read nothing: they stand at the right edge. A ring's area is the pass's share of the
# frame.

# %%
roof, bandwidth = config.macs_per_cycle, config.bus_bytes
passes = [each for each in reports[task].passes if each.macs and each.cycles]
intensity = np.array([each.macs / each.bytes if each.bytes else np.inf for each in passes])
reached = np.array([each.macs / each.cycles for each in passes])
area = np.array([2500 * each.cycles / reports[task].cycles for each in passes])
edge = 2 * intensity[np.isfinite(intensity)].max()
frame = reports[task].macs / reports[task].counters["BYTES_READ"], reports[task].macs / reports[task].cycles

figure, axis = plt.subplots(figsize=(9, 5), layout="constrained")
line = np.geomspace(roof / bandwidth / 8, 2 * edge, 500)
axis.loglog(line, np.minimum(roof, bandwidth * line), color="black", linewidth=1.5)
for name, colour in COLOURS.items():
    mine = [index for index, each in enumerate(passes) if KINDS[each.part] == name]
    rings = {"facecolors": "none", "edgecolors": [colour], "linewidths": 1.5}
    axis.scatter(np.minimum(intensity[mine], edge), reached[mine], area[mine], **rings)
    if mine:
        axis.scatter([], [], 60, label=name, **rings)
axis.scatter(*frame, 220, marker="*", color="black", zorder=3, label="whole frame")
axis.annotate(f"array: {roof} per cycle", (line[-1], roof), (0, 6), textcoords="offset points", ha="right")
axis.annotate(f"bus: {bandwidth} bytes per cycle", (line[0], bandwidth * line[0]), (14, 0), textcoords="offset points")
axis.set_ylim(min(roof / 16, reached.min() / 1.5), 1.5 * roof)
axis.set_yticks([roof / 16, roof / 8, roof / 4, roof / 2, roof])
axis.set_xticks([2, 5, 10, 20, 50, 100, 200, 500])
for ticks in (axis.xaxis, axis.yaxis):
    ticks.set_major_formatter("{x:g}")
    ticks.set_minor_locator(NullLocator())
axis.set_xlabel("multiply-accumulates per byte from memory")
axis.set_ylabel("multiply-accumulates per cycle")
axis.set_title(f"{network.name} on {config.name}, {task}")
axis.legend(loc="lower right", frameon=False)
plt.show()

# %% [markdown]
# ## Where the other cycles went
#
# Every cycle of a run is in one counter, seen from the unit that reads rows: a row entered the array (`BUSY`), or
# the unit took statistics of a LayerNorm, or waited for weights, for earlier rows to be stored, for room, or had no
# instruction.

# %%
SHADES = dict(zip(reports[task].stalls, ("#4c9f70", "#f2cc8f", "#e07a5f", "#81a4cd", "#9d6b9d", "#b0b0b0"),
                  strict=True))
figure, axis = plt.subplots(figsize=(12, 2.2), layout="constrained")
for task, report in reports.items():
    left = 0
    for cause, cycles in report.stalls.items():
        share = cycles / report.cycles
        axis.barh(task, share, left=left, color=SHADES[cause])
        if share > 0.05:
            axis.text(left + share / 2, task, f"{share:.1%}", ha="center", va="center")
        left += share
    print(f"{task:8}", ", ".join(f"{cause} {cycles / report.cycles:.1%}" for cause, cycles in report.stalls.items()))
for cause, colour in SHADES.items():
    axis.bar(0, 0, color=colour, label=cause)
axis.set_xlim(0, 1)
axis.invert_yaxis()
axis.xaxis.set_major_formatter("{x:.0%}")
figure.legend(loc="outside upper center", ncols=len(SHADES), frameon=False)
plt.show()

# %% [markdown]
# ## Which experts worked
#
# Tokens per expert, as the machine logged them. An expert without tokens is passed over. The tasks have different
# gates: the same image, other experts.

# %%
blocks = [block for block in range(network.depth) if network.is_moe(block)]
loads = {task: np.array([[report.expert_rows[block].get(expert, 0) for expert in range(network.experts)]
                         for block in blocks]) for task, report in reports.items()}
most = max(load.max() for load in loads.values())

figure, axes = plt.subplots(1, len(loads), figsize=(12, 1.2 + 0.6 * len(blocks)), layout="constrained", squeeze=False)
for axis, (task, load) in zip(axes[0], loads.items(), strict=True):
    heat = axis.imshow(load, cmap="magma", vmin=0, vmax=most, aspect="auto")
    for (row, expert), rows in np.ndenumerate(load):
        axis.text(expert, row, rows, ha="center", va="center", color="white" if rows < 0.6 * most else "black")
    axis.set_yticks(range(len(blocks)), [f"block {block}" for block in blocks])
    axis.set_xticks(range(network.experts))
    axis.set_xlabel("expert")
    axis.set_title(task)
figure.colorbar(heat, ax=axes[0], label="tokens")
plt.show()

# %% [markdown]
# ## Who went where, and who looked where
#
# Routing decisions and attention stay inside the machine. The integer model, which returns the same tokens bit for
# bit, shows them: it needs the quantised model, `model.npz`. Without it the pictures below are left out.

# %%
frames = {}
try:
    quantised = find("model.npz")
except MissingFile as error:
    print(f"SKIPPED, the pictures below too. {error}")
else:
    from moevit.golden.integer.model import IntegerModel
    from moevit.spec.quantised import QuantisedModel

    model = QuantisedModel.load(quantised)
    frames = {task: IntegerModel(model).run(image, index) for index, task in enumerate(bundle.tasks)}
    for task, frame in frames.items():
        for block, load in zip(blocks, loads[task], strict=True):
            chosen = model[f"blocks.{block}.moe.order"][frame.trace[f"{block}.top_k_index"]]
            assert (np.bincount(chosen.ravel(), minlength=network.experts) == load).all(), (task, block)
    print("the integer model routes as many tokens to each expert as the machine did")

# %% [markdown]
# Each patch in the colour of its first expert.

# %%
grid = network.height // network.patch, network.width // network.patch
whole = (0, network.width, network.height, 0)

if frames:
    figure, axes = plt.subplots(len(frames), 1 + len(blocks), figsize=(12, 4.2), layout="constrained", squeeze=False)
    for row, (task, frame) in zip(axes, frames.items(), strict=True):
        row[0].imshow(image)
        row[0].set_ylabel(task)
        for axis, block in zip(row[1:], blocks, strict=True):
            first = model[f"blocks.{block}.moe.order"][frame.trace[f"{block}.top_k_index"][network.prefix_tokens:, 0]]
            shown = axis.imshow(first.reshape(grid), extent=whole, cmap=plt.get_cmap("tab10", network.experts),
                                vmin=-0.5, vmax=network.experts - 0.5)
            axis.set_title(f"block {block}")
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    figure.colorbar(shown, ax=axes, ticks=range(network.experts), label="expert")
    plt.show()

# %% [markdown]
# Attention of one patch, in the middle of the nearest card (white frame): bright patches weigh most. The machine
# computes the softmax as $2^{x - max}$ and divides by the sum.

# %%
if frames:
    from moevit.golden.integer.softmax import exponentials

    near = np.argwhere(scenes["depth"][0].reshape(grid) == scenes["depth"][0].min())
    down, across = near[np.square(near - near.mean(axis=0)).sum(axis=1).argmin()]
    query = network.prefix_tokens + down * grid[1] + across
    task = bundle.tasks[0]

    figure, axes = plt.subplots(network.heads, network.depth, figsize=(12, 0.9 + 1.5 * network.heads),
                                layout="constrained", squeeze=False)
    for (head, block), axis in np.ndenumerate(axes):
        logits = frames[task].trace[f"{block}.attn_logits"][head]
        weights = exponentials(logits, logits.max(axis=1), network.tokens)[query, network.prefix_tokens:]
        axis.imshow(image.mean(axis=2), cmap="gray", vmin=0, vmax=255)
        axis.imshow(weights.reshape(grid), extent=whole, cmap="inferno", alpha=0.65, interpolation="bilinear")
        axis.add_patch(plt.Rectangle((across * network.patch, down * network.patch), network.patch, network.patch,
                                     fill=False, edgecolor="white", linewidth=1.5))
        axis.set_title(f"block {block}, head {head}", fontsize=10)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.suptitle(f"{task}: attention of one patch")
    plt.show()

# %%
accelerator.close()
