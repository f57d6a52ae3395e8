# SPDX-License-Identifier: Apache-2.0
"""A PASS in three parts: rows become operands, operands are multiplied by tiles, accumulators become stored rows."""

import numpy as np

from moevit.golden.integer.norm import apply_gain
from moevit.golden.integer.rounding import round_shift
from moevit.golden.integer.router import queues, route
from moevit.golden.integer.row_scale import RoundedPeak, RowScale, digits, peak_scale, quantise, reciprocal
from moevit.golden.integer.row_writer import gate_logits, write_rows
from moevit.golden.integer.softmax import exponentials
from moevit.spec.arrays import MachineConfig
from moevit.spec.formats import BIAS_MASKED, DIGIT_BITS, GATE_FRACTION, LOGIT_FRACTION, SCORE_FRACTION
from moevit.spec.isa import GROUPS, Activation, Destination, Operand, Peak, RowSource, Saturation, WeightSource
from moevit.spec.trace import TraceKind

from .state import State

__all__ = ["run_pass"]

Instruction = dict[str, int]
_TRACED = {Destination.RESIDUAL: TraceKind.RESIDUAL, Destination.HIDDEN: TraceKind.HIDDEN}


def run_pass(state: State, instruction: Instruction, beats: np.ndarray, rows: int, expert: int) -> int:
    """Execute one PASS on ``state`` and return the array's multiply-accumulates.

    ``beats``: the bytes u8 that the pass takes from its region. ``rows``: how many rows it has. ``expert``: whose queue
    it uses. Raises ValueError and IndexError for fields that the machine refuses.
    """
    place = np.arange(rows)
    token, score = place, np.full(rows, 1 << SCORE_FRACTION)
    if instruction["gather"] or instruction["scatter"] or instruction["score"]:
        queue = state.queues[expert]
        token, score = queue.tokens[:rows], queue.scores[:rows]
    source_row = token if instruction["gather"] else place
    operands, scale = _operands(state, instruction, source_row)
    if instruction["destination"] != Destination.ROUTER:
        for name in ("digits", "sigmoid", "biased", "sets_bias"):
            if instruction[name]:
                raise ValueError(f"{name} of a pass that is not for the router")
    elif instruction["sets_bias"] and rows != 1:
        raise ValueError(f"selection biases of {rows} rows")
    weight, column_scale, bias = _tiles(state, instruction, beats)
    accumulator = _multiply(state.config, operands, weight, instruction["digits"])
    row = token if instruction["scatter"] else _destination_rows(instruction, place)
    columns = _columns(state, instruction)
    parameters = (accumulator[:, columns], scale, column_scale[columns], bias[columns], instruction["shift"])
    if instruction["destination"] == Destination.ROUTER:
        _route(state, instruction, gate_logits(*parameters))
    else:
        _write(state, instruction, parameters, row, score)
    return rows * instruction["n_tiles"] * _k_tiles(state, instruction) * state.config.macs_per_cycle


def _k_tiles(state: State, instruction: Instruction) -> int:
    """Tiles in one n-tile: ``k_tiles`` for each sweep."""
    return instruction["k_tiles"] * (state.config.gate_sweeps if instruction["digits"] else 1)


def _columns(state: State, instruction: Instruction) -> slice:
    """The stored columns of a pass, which begin at the word ``first_word``."""
    columns = slice(instruction["first_word"] * state.config.k_lanes, instruction["columns"])
    if instruction["first_word"] >= state.config.ratio or columns.start >= columns.stop:
        raise ValueError(f"no columns from word {instruction['first_word']} to {columns.stop}")
    return columns


def _destination_rows(instruction: Instruction, place: np.ndarray) -> np.ndarray:
    """The destination row of each row: after every ``group`` rows, ``gap`` destination rows are left out."""
    size, gap = instruction["group"], instruction["gap"]
    if not size:
        if gap:
            raise ValueError("a gap without groups")
        return place
    if instruction["queued"] or len(place) > GROUPS * size:
        raise ValueError(f"groups of {size} for {len(place)} rows")
    return place + place // size * gap


def _operands(state: State, instruction: Instruction, row: np.ndarray) -> tuple[np.ndarray, RowScale]:
    """Operands s9 (rows, k lanes) and the row scales. With ``digits`` the operands of the sweeps stand side by side."""
    memory = state.residual if instruction["source"] == RowSource.RESIDUAL else state.hidden
    address = instruction["source_base"] + row[:, None] * instruction["source_stride"]
    x = memory[address + np.arange(instruction["k_tiles"])].reshape(len(row), -1)
    match instruction["operand"]:
        case Operand.RAW:
            value = x & 511
            return value - ((value & 256) << 1), RowScale(np.full(len(row), 1 << 15), np.zeros(len(row), np.int64))
        case Operand.EXP:
            e = exponentials(x, state.peaks[instruction["source_peak"] + row], instruction["keys"])
            return e, reciprocal(e.sum(axis=1))
        case Operand.ROW:
            peak = peak_scale(state.peaks[instruction["source_peak"] + row])
            value, scale = x, peak.row_scale
        case Operand.NORM:
            if state.norm is None:
                raise ValueError("PASS reads normalised rows before any NORM")
            mean, peak, scale = (_take(part, row) for part in state.norm)
            value = apply_gain(x, mean[:, None], state.gain)
    high, low = digits(quantise(value, RoundedPeak(peak.m[:, None], peak.e[:, None])))
    sweeps = [high, low, high][:state.config.gate_sweeps] if instruction["digits"] else [high]
    return np.concatenate(sweeps, axis=1), scale


def _take(part, row: np.ndarray):
    return part[row] if isinstance(part, np.ndarray) else type(part)(*(field[row] for field in part))


def _tiles(state: State, instruction: Instruction,
           beats: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (k lanes, n lanes), column scales (n lanes,) and biases (n lanes,) of the whole pass."""
    k, n = state.config.k_lanes, state.config.n_lanes
    n_tiles, k_tiles = instruction["n_tiles"], _k_tiles(state, instruction)
    content = beats.reshape(n_tiles, -1)
    if instruction["constant"]:
        column_scale = np.full(n_tiles * n, instruction["constant_scale"])
        bias = np.zeros(n_tiles * n, np.int64)
    else:
        columns = np.ascontiguousarray(content[:, :4 * n]).view("<i2").reshape(-1, 2).astype(np.int64)
        column_scale, bias = columns[:, 0] & 0xFFFF, columns[:, 1]
        content = content[:, 4 * n:]
    if instruction["weights"] == WeightSource.BUS:
        tiles = np.ascontiguousarray(content).view(np.int8).reshape(n_tiles, k_tiles, n, k).astype(np.int64)
        return tiles.transpose(1, 3, 0, 2).reshape(k_tiles * k, n_tiles * n), column_scale, bias
    words = state.kv.reshape(-1, n)
    address = (instruction["kv_base"] + np.arange(n_tiles)[:, None, None] * instruction["kv_n_stride"]
               + np.arange(k_tiles)[:, None] * instruction["kv_k_stride"] + np.arange(k))
    tiles = words[address]  # (n_tiles, k_tiles, k beats, n bytes)
    if instruction["weights"] == WeightSource.KEYS:  # a beat holds `ratio` columns
        tiles = tiles.reshape(n_tiles, k_tiles, n, k).transpose(0, 1, 3, 2)
    return tiles.transpose(1, 2, 0, 3).reshape(k_tiles * k, n_tiles * n), column_scale, bias


def _multiply(config: MachineConfig, operands: np.ndarray, weight: np.ndarray, with_digits: int) -> np.ndarray:
    """``operands @ weight`` in exact integers. Float64 holds every sum exactly.

    A gate (``with_digits``) adds up digit products. With two sweeps, the two lanes of an expert are added at the end.
    With three sweeps, the sum is shifted before the third.
    """
    if not with_digits:
        return _exact(operands, weight)
    if config.gate_sweeps == 2:
        low, high = np.split(_exact(operands, weight)[:, :2 * config.max_experts], 2, axis=1)
        return round_shift(low, DIGIT_BITS) + high
    split = weight.shape[0] // 3 * 2
    low = _exact(operands[:, :split], weight[:split])
    return round_shift(low, DIGIT_BITS) + _exact(operands[:, split:], weight[split:])


def _exact(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)


def _write(state: State, instruction: Instruction, parameters: tuple, row: np.ndarray, score: np.ndarray) -> None:
    config, columns = state.config, parameters[0].shape[1]
    lanes = config.k_lanes
    words = instruction["first_word"] + np.arange(-(-columns // lanes))
    destination = Destination(instruction["destination"])
    base, stride = instruction["destination_base"], instruction["destination_stride"]
    match destination:
        case Destination.RESIDUAL | Destination.HIDDEN:
            memory = state.residual if destination == Destination.RESIDUAL else state.hidden
            address = base + row[:, None] * stride + words
        case Destination.KEYS:
            memory, address = state.kv, (base + words * stride) * config.ratio + row[:, None]
        case Destination.VALUES:
            word, part = words // config.ratio, words % config.ratio
            memory, address = state.kv, (base + word * stride + row[:, None]) * config.ratio + part
    residual = None
    if destination == Destination.RESIDUAL:
        residual = memory[address].reshape(len(row), -1)[:, :columns]
    written = write_rows(*parameters, activation=Activation(instruction["activation"]),
                         score=score if instruction["score"] else None, residual=residual,
                         saturation=Saturation(instruction["saturation"]))
    state.run.saturated += written.saturated
    stored = np.pad(written.rows, ((0, 0), (0, len(words) * lanes - columns))).reshape(len(row), len(words), lanes)
    if destination == Destination.RESIDUAL:
        state.add_to_sums(row, (stored - memory[address]).sum(axis=(1, 2)))
    memory[address] = stored
    state.record(_TRACED.get(destination, TraceKind.KV), address, stored)
    _update_peaks(state, instruction, written.rows, row)


def _update_peaks(state: State, instruction: Instruction, rows: np.ndarray, row: np.ndarray) -> None:
    if instruction["peak"] == Peak.NONE:
        return
    peak = (np.abs(rows) if instruction["peak"] == Peak.ABSOLUTE else rows).max(axis=1)
    entry = instruction["destination_peak"] + row
    state.peaks[entry] = peak if instruction["peak_first"] else np.maximum(state.peaks[entry], peak)


def _route(state: State, instruction: Instruction, logits: np.ndarray) -> None:
    if instruction["sets_bias"]:
        state.select_bias[:] = BIAS_MASKED
        state.select_bias[:logits.shape[1]] = logits[0] >> (GATE_FRACTION - LOGIT_FRACTION)
        return
    bias = state.select_bias[:logits.shape[1]] if instruction["biased"] else None
    routing = route(logits, instruction["top_k"], bool(instruction["renormalise"]),
                    with_sigmoid=bool(instruction["sigmoid"]), bias=bias)
    state.queues = queues(routing, instruction["columns"])
    token, rank = np.indices(routing.experts.shape)
    state.record(TraceKind.ROUTE, token * 32 + rank,
                 np.stack([routing.experts, routing.scores & 0xFFFF, routing.scores >> 16], axis=2))
    lengths = np.array([len(queue.tokens) for queue in state.queues])
    state.record(TraceKind.QUEUE, np.arange(len(lengths)), lengths)
