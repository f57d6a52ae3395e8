# SPDX-License-Identifier: Apache-2.0
"""The measurements of `make models`, stage by stage: the entries of ``models.json``."""

from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moevit.golden.quant.images import photographs
from moevit.golden.quant.quantiser import layer_count
from moevit.golden.reference import read
from moevit.spec.networks import Network

from .features import Features, float_features, integer_features
from .fidelity import TokenFidelity, fidelity
from .original import PACKAGE, VERSION, Original, original
from .probe import STRENGTHS, choose, fit, paired
from .rtl import board_estimates, rtl_frame
from .sets import SETS, PictureSet, unseen_photographs
from .weights import CALIBRATION, MODEL, import_model, quantise_model

__all__ = ["FEW", "FIDELITY_PICTURES", "Measurement"]

#: Test pictures of a set whose tokens are compared one by one.
FIDELITY_PICTURES = 32
#: Test pictures for the model that was calibrated on photographs.
COMPARED = 200
#: For a short trial run: calibration pictures, training pictures and test pictures of a set.
FEW = (2, 60, 16)


@dataclass(frozen=True)
class Measurement:
    """Measures DINOv2-S, and keeps slow results below ``root``.

    ``stage(name, total)`` opens a stage. ``executor``: the processes that run the integer model. ``few``: use only
    `FEW` pictures and run no frame on the RTL.
    """

    root: Path
    stage: Callable[..., AbstractContextManager[Any]]
    executor: Executor | None = None
    few: bool = False

    def run(self) -> dict[str, Any]:
        """``{model: figures}``. Raises SetError, ImportFailed, QuantisationError, AccelError."""
        photos = unseen_photographs()
        source = original()
        with self.stage("import") as stage:
            imported = import_model(source, photos, self.root)
            stage.result = f"{MODEL}: {imported.reference_db:.0f} dB to onnxruntime on {imported.images} photographs"
        network = read(imported.checkpoint).network
        model = self._quantise(imported.checkpoint, network, photographs(network, self._calibration), "photographs")
        seen = self._fidelity(source, model, photos)
        sets = {name: self._set(make(), source, imported.checkpoint, network, model) for name, make in SETS.items()}
        frame = {} if self.few else self._frame(model, photos[0])
        figures = {
            "source": {"package": f"{PACKAGE} {VERSION}", "host": read(imported.checkpoint).host.get("source")},
            "folded": imported.notes.get("folded", []),
            "reference_db": imported.reference_db, "reference_images": imported.images,
            **seen.figures(),
            **{name: sets["digits"][name] for name in ("top1_float", "top1_integer", "agreement", "images")},
            "rtl_values": frame.get("values"), "rtl_different": frame.get("different"), "cycles": frame.get("cycles"),
            "rtl": frame, "boards": board_estimates(network), "sets": sets,
        }
        return {MODEL: figures}

    @property
    def _calibration(self) -> int:
        return FEW[0] if self.few else CALIBRATION

    def _quantise(self, checkpoint: Path, network: Network, images: np.ndarray, pictures: str) -> Path:
        with self.stage("quantise", total=layer_count(network)) as stage:
            path = quantise_model(checkpoint, images, self.root, stage.step)
            stage.result = f"{len(images)} {pictures}: {path.name}"
        return path

    def _fidelity(self, source: Original, model: Path, images: np.ndarray) -> TokenFidelity:
        """Fidelity on photographs that calibration has not seen."""
        exact = float_features(source, images, len(images), self.root, lambda places: None)
        found = fidelity(exact, self._integer(model, images, len(images), "photographs"))
        with self.stage("fidelity") as stage:
            stage.result = f"{len(images)} photographs: {_summary(found)}"
        return found

    def _set(self, pictures: PictureSet, source: Original, checkpoint: Path, network: Network,
             model: Path) -> dict[str, Any]:
        """Figures of the model calibrated on the set's own pictures; under ``photographs``, those of ``model``."""
        if self.few:
            pictures = pictures.first(*FEW[1:])
        train, test = pictures.images[pictures.train], pictures.images[pictures.test]
        own = self._quantise(checkpoint, network, train[:self._calibration], f"training pictures of {pictures.name}")
        with self.stage("float", total=len(train) + len(test)) as stage:
            done = _counting(stage)
            fitted_on = float_features(source, train, 0, self.root, done)
            exact = float_features(source, test, FIDELITY_PICTURES, self.root, done)
            stage.result = f"features of {len(train)} + {len(test)} {pictures.name}"
        labels = pictures.labels[pictures.train]
        with self.stage("probe", total=len(STRENGTHS) + 1) as stage:
            chosen, probes = choose(fitted_on.pooled, labels), {}
            for strength in STRENGTHS:
                stage.step()
                probes[strength] = fit(fitted_on.pooled, labels, strength)
            stage.result = f"{pictures.name}, C = {chosen:g} by cross-validation"
        truth, figures = pictures.labels[pictures.test], {}
        for calibration, path in (("training pictures", own), ("photographs", model)):
            asked = test if path == own else test[:COMPARED]
            integer = self._integer(path, asked, FIDELITY_PICTURES, pictures.name)
            close = fidelity(exact, integer)
            scored = {strength: paired(truth[:len(asked)], probe.predict(exact.pooled[:len(asked)]),
                                       probe.predict(integer.pooled)) for strength, probe in probes.items()}
            found = scored[chosen]
            with self.stage("score") as stage:
                stage.result = (f"{pictures.name}, calibrated on {calibration}: top-1 {found.top1_float:.2%} -> "
                                f"{found.top1_integer:.2%}, same answer {found.agreement:.2%}; {_summary(close)}")
            figures[calibration] = {
                "calibration": calibration, "training_images": len(train), "fidelity_images": len(exact.tokens),
                **found.figures(), **close.figures(), "strength": chosen,
                "strengths": {str(strength): each.figures() for strength, each in scored.items()}}
        return {**figures["training pictures"], "photographs": figures["photographs"]}

    def _integer(self, model: Path, images: np.ndarray, first: int, name: str) -> Features:
        with self.stage("integer", total=len(images)) as stage:
            found = integer_features(model, images, first, self.root, _counting(stage), self.executor)
            stage.result = f"features of {len(images)} {name}, {model.name}"
        return found

    def _frame(self, model: Path, image: np.ndarray) -> dict[str, Any]:
        with self.stage("rtl", total=1) as stage:
            frame = rtl_frame(model, image, self.root, stage)
            stage.result = f"{frame['cycles']:,} cycles, {frame['different']} of {frame['values']:,} values differ"
        return frame


def _counting(stage: Any) -> Callable[[int], None]:
    counted = [0]

    def done(places: int) -> None:
        counted[0] += places
        stage("", counted[0])

    return done


def _summary(close: TokenFidelity) -> str:
    name, share = close.worst_tensor
    return f"cosine median {close.median:.5f}, least {close.least:.4f}; most saturated: {name}, {share:.1e} of it"
