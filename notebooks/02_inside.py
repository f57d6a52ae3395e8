# %% [markdown]
# <!-- SPDX-License-Identifier: Apache-2.0 -->
# # Inside a frame
#
# The machine counts its own cycles and logs every pass. This notebook draws what it says of a frame: which pass
# took how long, how near to the limits of array and memory it came, where the other cycles went, and what the
# experts did. `moevit run --report page.html` puts the same drawings on one page.

# %%
import numpy as np
from IPython.display import SVG, display

from moevit.host.errors import MissingFile
from moevit.kit.npz import read_npz
from moevit.notebooks import find, machine
from moevit.report import heatmap, maps
from moevit.report.roofline import roofline
from moevit.report.run import logged, roofline_passes
from moevit.report.stalls import stalls
from moevit.report.timeline import timeline
from moevit.spec.arrays import CONFIGS
from moevit.spec.networks import Network

WIDTH = 1000

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
task = bundle.tasks[0]
passes = reports[task].passes
SVG(timeline([logged(passes)], 0, reports[task].cycles, WIDTH, f"{task}: {len(passes)} passes"))

# %% [markdown]
# One block of it, larger. `moevit run --on rtl --report` shows above it what the memory bus loads meanwhile.

# %%
block = [each for each in passes if each.block == 1]
SVG(timeline([logged(passes)], block[0].end - block[0].cycles, block[-1].end, WIDTH, "Block 1"))

# %% [markdown]
# ## The roofline
#
# Two things bound a pass: the array multiplies so many pairs per cycle, and the memory bus brings so many bytes per
# cycle. A pass below the roof waited for something else, or left lanes of the array empty. Passes whose operands
# are all on chip (logits, mix) read nothing: they stand at the right edge. A circle's area is the pass's share of the
# frame.

# %%
memory = {"bus, a beat per cycle": float(config.bus_bytes)}
SVG(roofline(roofline_passes(passes), config.macs_per_cycle, memory, WIDTH, f"{network.name} on {config.name}, {task}"))

# %% [markdown]
# ## Where the other cycles went
#
# Every cycle of a run is in one counter, seen from the unit that reads rows: a row entered the array (`BUSY`), or
# the unit took statistics of a LayerNorm, or waited for weights, for earlier rows to be stored, for room, or had no
# instruction.

# %%
SVG(stalls({task: report.stalls for task, report in reports.items()}, WIDTH, "Cycles by cause"))

# %% [markdown]
# The report of a run says it in numbers.

# %%
display(accelerator.report)

# %% [markdown]
# ## Which experts worked
#
# Tokens per expert, as the machine logged them. An expert without tokens is passed over. The tasks have different
# gates: the same image, other experts.

# %%
blocks = [block for block in range(network.depth) if network.is_moe(block)]
loads = {task: np.array([[report.expert_rows[block].get(expert, 0) for expert in range(network.experts)]
                         for block in blocks]) for task, report in reports.items()}
for task, load in loads.items():
    print(task)
    display(SVG(heatmap.experts(load, blocks, WIDTH, task)))

# %% [markdown]
# ## Who went where, and who looked where
#
# Routing decisions and attention stay inside the machine. The integer model, which returns the same tokens bit for
# bit, shows them: it needs the quantised model, `model.npz`. Without it the pictures below are left out.

# %%
inside = None
try:
    quantised = find("model.npz")
except MissingFile as error:
    print(f"SKIPPED, the pictures below too. {error}")
else:
    from moevit.inside import look_inside
    from moevit.spec.quantised import QuantisedModel

    depths = scenes["depth"][0].reshape(network.height // network.patch, network.width // network.patch)
    near = np.argwhere(depths == depths.min())
    row, column = near[np.square(near - near.mean(axis=0)).sum(axis=1).argmin()]  # in the middle of the nearest card
    inside = look_inside(QuantisedModel.load(quantised), image, bundle.tasks[0], (int(row), int(column)))
    for task in bundle.tasks:
        assert (inside.loads[task] == loads[task]).all(), task
    print("the integer model routes as many tokens to each expert as the machine did")

# %% [markdown]
# Each patch in the colour of its first expert.

# %%
display(SVG(maps.routing(image, inside.experts, WIDTH, "First expert of each patch")) if inside else "no model.npz")

# %% [markdown]
# Attention of one patch, in the middle of the nearest card (white frame): light patches weigh most. The machine
# computes the softmax as $2^{x - max}$ and divides by the sum.

# %%
display(SVG(maps.attention(image, inside.attention, inside.query, WIDTH, "Attention")) if inside else "no model.npz")

# %%
accelerator.close()
