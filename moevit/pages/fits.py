# SPDX-License-Identifier: Apache-2.0
"""What fits which board: budgets in percent, networks by board, from ``spec.boards`` and the estimator;
LUTs and flip-flops from ``docs/area.md``."""

from pathlib import Path

from moevit.cli.boards import NEARLY_FULL, candidates, mark, percent
from moevit.compiler.plan import DoesNotFit, reasons_against
from moevit.estimator.estimate import estimate
from moevit.estimator.onchip import budgets, shortages
from moevit.spec.arrays import CONFIGS, MachineConfig
from moevit.spec.boards import BOARDS, Board
from moevit.spec.networks import NETWORKS

from .area import Area
from .markdown import note, table

__all__ = ["what_fits"]


def _share(used: float, available: int) -> str:
    if not available:
        return "0 of 0" if not used else f"{used:g} of 0"
    return f"{used:g} of {available:,}, {percent(used, available)} {mark(used, available)}".rstrip()


def what_fits(root: Path) -> str:
    """The page."""
    area = Area(root)
    text = note("spec/, estimator/ and docs/area.md") + (
        "# What fits\n\nMemories and multipliers are counted from the declarations before any synthesis. LUTs and "
        "flip-flops (FF) are Yosys's\ncounts ([area](area.md)), before placement. **Clocks are assumed**: nothing was "
        f"placed or routed. `!` marks more than {NEARLY_FULL:.0%}\nof a budget, which is hard to place and route, `!!` "
        "more than the board has: such an array does not fit as it is.\n\n## Boards\n\n")
    rows = []
    for board in BOARDS.values():
        used = budgets(CONFIGS[board.config], board)
        rows.append([board.name, board.part, board.config, f"{board.clock_mhz:g}",
                     *(_share(*each) for each in used.values()), *_logic(area, CONFIGS[board.config], board)])
    text += table(["board", "part", "its array", "MHz (assumed)", "BRAM36", "URAM", "DSP", "LUT", "FF"], rows)
    text += ("\n## Networks\n\nMilliseconds of a frame at the assumed clock, predicted; the array that runs it, with "
             "`!!` where it has more LUTs than the\nboard.\n\n")
    found = {network.name: candidates(network) for network in NETWORKS.values()}
    rows = [[f"{name} ({NETWORKS[name].tokens} tokens)",
             *(f"{each.milliseconds:.2f} ({_marked(area, each.found.config, each.board)})" if each.found else "no"
               for each in row)]
            for name, row in found.items()]
    text += table(["network", *BOARDS], rows)
    text += "\nWhat is in the way:\n\n"
    for config in dict.fromkeys(board.config for board in BOARDS.values()):
        text += "".join(f"- {name} on {config}: {'; '.join(reasons)}\n" for name, network in NETWORKS.items()
                        if (reasons := reasons_against(network, CONFIGS[config])))
    text += ("\n## Arrays on boards\n\nWhich configuration a board has room for, with the fullest budget; otherwise "
             "what it lacks. LUTs that were\ncounted for another board of the family are taken from there.\n\n")
    text += table(["array", *BOARDS], [[name, *(_lacking(area, config, board) for board in BOARDS.values())]
                                       for name, config in CONFIGS.items()])
    text += ("\n## Batches\n\nImages at a time on the board's own array, whether its LUTs fit or not: milliseconds of "
             "one image.\n\n")
    rows = [[name, *(_batched(name, board) for board in BOARDS.values())] for name in NETWORKS if name != "tiny_test"]
    return text + table(["network", *BOARDS], rows)


def _logic(area: Area, config: MachineConfig, board: Board) -> list[str]:
    """LUTs and flip-flops."""
    found = area.counted(config, board)
    if not found:
        return ["not counted"] * 2
    return [f"{used:,} of {have:,}, {percent(used, have)} {mark(used, have)}".rstrip()
            for used, have in ((found.lut, board.lut), (found.ff, board.ff))]


def _marked(area: Area, config: MachineConfig, board: Board) -> str:
    found = area.counted(config, board)
    return f"{config.name} !!" if found and found.lut > board.lut else config.name


def _lacking(area: Area, config: MachineConfig, board: Board) -> str:
    lacking, found = shortages(config, board), area.counted(config, board)
    short = [each.replace(f", {board.name} has ", " of ").replace("needs ", "") for each in lacking]
    short = ["multipliers too wide" if each.startswith("multipliers") else each for each in short]
    if found and found.lut > board.lut:
        short.append(f"LUT: {found.lut} of {board.lut}")
    if short:
        return "no: " + "; ".join(short)
    used = [each for each in budgets(config, board).values() if each[1]] + ([(found.lut, board.lut)] if found else [])
    most = percent(*max(used, key=lambda each: each[0] / each[1]))
    return f"yes, {most}" + ("" if found else ", LUTs not counted")


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
