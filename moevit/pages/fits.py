# SPDX-License-Identifier: Apache-2.0
"""What fits which board: budgets in percent, networks by board, from ``spec.boards`` and the estimator."""

from moevit.cli.boards import NEARLY_FULL, candidates, mark, percent
from moevit.compiler.plan import DoesNotFit, reasons_against
from moevit.estimator.estimate import estimate
from moevit.estimator.onchip import budgets, shortages
from moevit.spec.arrays import CONFIGS, MachineConfig
from moevit.spec.boards import BOARDS, Board
from moevit.spec.networks import NETWORKS

from .markdown import note, table

__all__ = ["what_fits"]


def _share(used: float, available: int) -> str:
    if not available:
        return "0 of 0" if not used else f"{used:g} of 0"
    return f"{used:g} of {available:,}, {percent(used, available)} {mark(used, available)}".rstrip()


def what_fits() -> str:
    """The page."""
    text = note("spec/ and estimator/") + (
        "# What fits\n\nMemories and multipliers are counted from the declarations before any synthesis; "
        "[area](area.md) has LUTs and flip-flops\nas Yosys counts them. **Clocks are assumed**: nothing was placed or "
        f"routed. `!` marks more than {NEARLY_FULL:.0%} of a budget,\nwhich is hard to place and route, `!!` more than "
        "the board has.\n\n## Boards\n\n")
    rows = []
    for board in BOARDS.values():
        used = budgets(CONFIGS[board.config], board)
        rows.append([board.name, board.part, board.config, f"{board.clock_mhz:g}", *(_share(*each) for each in
                                                                                   used.values())])
    text += table(["board", "part", "its array", "MHz (assumed)", "BRAM36", "URAM", "DSP"], rows)
    text += "\n## Networks\n\nMilliseconds of a frame at the assumed clock, predicted; the array that runs it.\n\n"
    found = {network.name: candidates(network) for network in NETWORKS.values()}
    rows = [[f"{name} ({NETWORKS[name].tokens} tokens)",
             *(f"{each.milliseconds:.2f} ({each.found.config.name})" if each.found else "no" for each in row)]
            for name, row in found.items()]
    text += table(["network", *BOARDS], rows)
    text += "\nWhat is in the way:\n\n"
    for config in dict.fromkeys(board.config for board in BOARDS.values()):
        text += "".join(f"- {name} on {config}: {'; '.join(reasons)}\n" for name, network in NETWORKS.items()
                        if (reasons := reasons_against(network, CONFIGS[config])))
    text += "\n## Arrays on boards\n\nWhich configuration a board has room for; otherwise what it lacks.\n\n"
    text += table(["array", *BOARDS], [[name, *(_lacking(config, board) for board in BOARDS.values())]
                                       for name, config in CONFIGS.items()])
    text += "\n## Batches\n\nImages at a time on the board's own array: milliseconds of one image.\n\n"
    rows = [[name, *(_batched(name, board) for board in BOARDS.values())] for name in NETWORKS if name != "tiny_test"]
    return text + table(["network", *BOARDS], rows)


def _lacking(config: MachineConfig, board: Board) -> str:
    lacking = shortages(config, board)
    if not lacking:
        most = max(used / have for used, have in budgets(config, board).values() if have)
        return f"yes, {most:.0%}"
    short = [each.replace(f", {board.name} has ", " of ").replace("needs ", "") for each in lacking]
    return "no: " + "; ".join("multipliers too wide" if each.startswith("multipliers") else each for each in short)


def _batched(name: str, board: Board) -> str:
    """One image, and the largest batch of 2 and 4 that fits."""
    config, times = CONFIGS[board.config], []
    for batch in (1, 2, 4):
        try:
            cycles = estimate(NETWORKS[name], config, board, batch=batch).cycles
        except DoesNotFit:
            break
        times.append(f"{batch}: {board.milliseconds(cycles) / batch:.2f}")
    return ", ".join(times) or "no"
