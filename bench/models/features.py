# SPDX-License-Identifier: Apache-2.0
"""Features of pictures, from the original network and from the integer model. A probe is fitted on them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from moevit import spec
from moevit.golden import integer
from moevit.golden.integer.model import IntegerModel
from moevit.host import heads
from moevit.spec.quantised import QuantisedModel

from .kept import digest, kept_arrays, sources
from .original import Original

__all__ = ["Features", "float_features", "integer_features", "one_thread"]

Done = Callable[[int], None]


@dataclass(frozen=True)
class Features:
    """``pooled`` float32 (pictures, 2 x dim): CLS and the mean of the patch tokens, after the final norm.

    ``tokens`` float32 (first pictures, tokens, dim): tokens after the final norm, of the first pictures only, because
    all would fill the disk. Of the integer model also ``clipped`` and ``written``: numbers of values over all pictures,
    by name in `Frame.trace`.
    """

    pooled: np.ndarray
    tokens: np.ndarray
    clipped: dict[str, int]
    written: dict[str, int]


def float_features(source: Original, images: np.ndarray, first: int, root: Path, done: Done) -> Features:
    """Features of ``images`` u8 (n, H, W, 3) by the original network, kept below ``root``.

    The first ``first`` pictures keep their tokens. ``done`` is called with the number of pictures of each piece.
    """
    def make(missing: Sequence[tuple[int, int]]) -> Iterator[dict[str, np.ndarray]]:
        for start, stop in missing:
            yield _piece(source(images[start:stop]), source.prefix_tokens, first - start)

    return _features(kept_arrays(root / f"float-{digest(source.key, images, first)}", len(images), make, done))


def integer_features(model: Path, images: np.ndarray, first: int, root: Path, done: Done,
                     executor: Executor | None = None) -> Features:
    """Features of ``images`` u8 (n, H, W, 3) by the integer model in the file ``model`` and the host's final norm.

    The other arguments are as in `float_features`. ``executor``: processes that share the work.
    """
    key = digest("integer", model.read_bytes(), images, first, sources(integer, spec),
                 Path(heads.__file__).read_bytes())
    each = map if executor is None else executor.map

    def make(missing: Sequence[tuple[int, int]]) -> Iterator[dict[str, np.ndarray]]:
        return iter(each(_integer_piece, repeat(model), [images[start:stop] for start, stop in missing],
                         [first - start for start, _ in missing]))

    return _features(kept_arrays(root / f"integer-{key}", len(images), make, done))


def one_thread() -> None:
    """Initialise a process of an executor: several threads in several processes wait for each other."""
    threadpool_limits(1)


@lru_cache(maxsize=1)
def _integer_model(path: Path) -> IntegerModel:
    return IntegerModel(QuantisedModel.load(path))


def _integer_piece(path: Path, images: np.ndarray, first: int) -> dict[str, np.ndarray]:
    integer_model = _integer_model(path)
    model, network = integer_model.model, integer_model.network
    norm = heads.read_heads(network, model.heads, model.host)["features"]
    frames = [integer_model.run(image) for image in images]
    tokens = np.stack([frame.tokens for frame in frames]) * 2.0**-model.residual_fraction
    counts = {f"{kind}/{name}": np.array([count(frame, name) for frame in frames])
              for name in frames[0].saturated
              for kind, count in (("clipped", lambda frame, name: frame.saturated[name]),
                                  ("written", lambda frame, name: frame.trace[name].size))}
    return {**_piece(norm(tokens), network.prefix_tokens, first), **counts}


def _piece(tokens: np.ndarray, prefix: int, first: int) -> dict[str, np.ndarray]:
    pooled = np.concatenate([tokens[:, 0], tokens[:, prefix:].mean(axis=1)], axis=1)
    return {"pooled": pooled.astype(np.float32), "tokens": tokens[:max(first, 0)].astype(np.float32)}


def _features(arrays: dict[str, np.ndarray]) -> Features:
    sums = {kind: {name.removeprefix(f"{kind}/"): int(counts.sum()) for name, counts in arrays.items()
                   if name.startswith(f"{kind}/")} for kind in ("clipped", "written")}
    return Features(arrays["pooled"], arrays["tokens"], sums["clipped"], sums["written"])
