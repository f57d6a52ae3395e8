# SPDX-License-Identifier: Apache-2.0
"""Each drawing shows its data: positions, sizes, colours, words."""

import re
import zlib
from base64 import b64decode
from xml.etree import ElementTree

import numpy as np
import pytest

from moevit.report import bars, heatmap, maps, stalls
from moevit.report.colours import EXPERTS, KIND_COLOURS, STALL_COLOURS, mapped
from moevit.report.roofline import Pass, roofline
from moevit.report.svg import Canvas, picture_uri, short
from moevit.report.timeline import Bar, Lane, ticks, timeline

SVG = "{http://www.w3.org/2000/svg}"


def shapes(drawing: str, tag: str = "rect", fill: str = ""):
    """Attributes of the shapes of one tag and colour, numbers as floats."""
    found = []
    for each in ElementTree.fromstring(drawing).iter(f"{SVG}{tag}"):
        if not fill or each.get("fill") == fill:
            found.append({key: float(value) if re.fullmatch(r"-?[\d.]+", value) else value
                          for key, value in each.attrib.items()})
    return found


def words(drawing: str) -> list[str]:
    return ["".join(each.itertext()) for each in ElementTree.fromstring(drawing).iter(f"{SVG}text")]


@pytest.mark.parametrize("width", [360, 1120])
def test_timeline_draws_bars_in_proportion_and_overlaps_below_each_other(width):
    norm, mix = KIND_COLOURS["norm"], KIND_COLOURS["mix"]
    lanes = [Lane("load", "a log", [Bar("a", 0, 100, norm), Bar("b", 50, 150, mix), Bar("gone", 900, 950, mix)])]
    drawing = timeline(lanes, 0, 200, width, "Time")
    (a, _), (b, _) = (shapes(drawing, fill=colour) for colour in (norm, mix))  # and one in the legend
    assert a["width"] == pytest.approx(b["width"]) == pytest.approx((width - 2) / 2)
    assert b["x"] - a["x"] == pytest.approx((width - 2) / 4) and b["y"] > a["y"]
    assert "load" in words(drawing)[0] and not any("gone" in each for each in words(drawing))
    clipped = shapes(timeline(lanes, 75, 125, width, "Time"), fill=norm)[0]
    assert clipped["x"] == 1 and clipped["width"] == pytest.approx((width - 2) / 2)


@pytest.mark.parametrize("begin, end, most, found", [
    (0, 200, 3, [0, 100, 200]), (0, 123_456, 8, [20_000 * index for index in range(7)]),
    (1234, 5678, 10, [1500 + 500 * index for index in range(9)]), (75, 125, 10, [80, 90, 100, 110, 120]),
    (0, 3, 10, [0, 1, 2, 3])])
def test_ticks_are_round_numbers(begin, end, most, found):
    assert ticks(begin, end, most) == found
    drawing = timeline([Lane("load", "", [])], begin, end, 110 * most, "Time")
    assert words(drawing)[1:-1] == [f"{tick:,}" for tick in found]


def test_every_bar_has_a_row_however_many_overlap():
    lane = Lane("load", "", [Bar(f"b{index}", index, 100, KIND_COLOURS["mix"]) for index in range(9)])
    drawn = shapes(timeline([lane], 0, 100, 500, "Time"), fill=KIND_COLOURS["mix"])
    assert len(drawn) == 10 and len({each["y"] for each in drawn[:9]}) == 3


def test_roofline_places_passes_below_the_roof():
    passes = [Pass("on the roof", "experts", 64_000, 1000, 1000), Pass("half", "experts", 32_000, 1000, 1000),
              Pass("no memory", "mix", 64_000, 0, 2000), Pass("nothing", "norm", 0, 10, 5)]
    drawing = roofline(passes, 64, {"ddr": 4.0}, 800, "Roofline")
    roof, half = sorted(shapes(drawing, "circle"), key=lambda each: each["cy"])[:1], shapes(drawing, "circle")
    assert len(half) == 3 and "ridge at 16" in " ".join(words(drawing))
    line = next(each for each in shapes(drawing, "polyline") if each["stroke-width"] == 1.6)
    flat = [tuple(map(float, point.split(","))) for point in line["points"].split()][1:]
    assert flat[0][1] == pytest.approx(flat[1][1]) == pytest.approx(roof[0]["cy"])
    no_memory = max(half, key=lambda each: each["cx"])
    assert no_memory["r"] == max(each["r"] for each in half) and no_memory["stroke"] == KIND_COLOURS["mix"]


def test_stalls_share_out_the_width():
    causes = {"BUSY": 600, "WAIT_WEIGHTS": 300, "WAIT_PROGRAM": 100}
    drawing = stalls.stalls({"depth": causes}, 1000, "Cycles")
    for cause, cycles in causes.items():
        assert shapes(drawing, fill=STALL_COLOURS[cause])[0]["width"] == pytest.approx(cycles)
    assert "1,000 cycles" in words(drawing) and "60.0%" in words(drawing)


def test_experts_and_sqnr_as_cells():
    drawing = heatmap.experts(np.array([[0, 8], [4, 4]]), [1, 3], 600, "depth")
    assert [text for text in words(drawing) if text.isdigit()][2:] == ["0", "8", "4", "4"]
    assert shapes(drawing, fill=mapped(8, 0, 8))
    drawing = heatmap.fidelity({"0.q": 30.0, "0.v": float("inf"), "tokens": 41.0}, 1, 360)
    assert {"q", "v", "30.0"} <= set(words(drawing)) and "k" not in words(drawing)
    assert "worst is 0.q with 30.0 dB" in drawing


def test_routing_and_attention_over_the_picture():
    image = np.arange(8 * 16 * 3, dtype=np.uint8).reshape(8, 16, 3)
    chosen = np.array([[0, 1], [9, 1]])
    drawing = maps.routing(image, {"depth, block 1": chosen}, 1120, "Routes")
    assert len(shapes(drawing, fill=EXPERTS[1])) == 5  # two patches and twice the legend: 1 and 9 have one colour
    assert words(drawing).count("9") == 2 and drawing.count("<use") == 2 and drawing.count("base64") == 1
    narrow = shapes(maps.routing(image, {"one": chosen, "two": chosen}, 360, "Routes"), "use")
    assert len({each["x"] for each in narrow}) == 1 and len({each["y"] for each in narrow}) == 3
    assert all(0 < float(each.get("fill-opacity", 0.5)) < 0.6 for each in shapes(drawing, fill=EXPERTS[1])[:3])
    drawing = maps.attention(image, {"block 0": np.array([[0.1, 0.9]])}, (0, 1), 360, "Attention")
    assert shapes(drawing, fill=mapped(1, 0, 1)) and "most at row 0, column 1" in drawing
    assert [each for each in shapes(drawing) if each.get("stroke") == "#ffffff"]
    assert "class token" in maps.attention(image, {"block 0": np.ones((2, 2))}, None, 360, "Attention")


def test_a_picture_is_a_png():
    image = np.random.default_rng(1).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    png = b64decode(picture_uri(image).partition(",")[2])
    at = png.index(b"IDAT")
    rows = np.frombuffer(zlib.decompress(png[at + 4:at + 4 + int.from_bytes(png[at - 4:at], "big")]), np.uint8)
    np.testing.assert_array_equal(rows.reshape(3, 16)[:, 1:].reshape(3, 5, 3), image)


def test_budgets_and_predictions():
    drawing = bars.resources([bars.Budget("BRAM36", 70, 140), bars.Budget("DSP", 300, 200), bars.Budget("URAM", 0, 0)],
                             400, "a board")
    assert "70 of 140, 50%" in words(drawing) and "300 of 200, 150%" in words(drawing) and "0 of 0" in words(drawing)
    almost = words(bars.resources([bars.Budget("a", 139.5, 140), bars.Budget("b", 140.5, 140),
                                   bars.Budget("c", 140, 140), bars.Budget("d", 29, 100)], 400, "a board"))
    assert {"139.5 of 140, 99%", "140.5 of 140, 101%", "140 of 140, 100%", "29 of 100, 29%"} <= set(almost)
    assert [each["width"] for each in shapes(drawing)[1:]] == [400, 200, 400, 400, 400, 0]
    drawing = bars.prediction({"BUSY": 1000, "WAIT_NORM": 0}, {"BUSY": 500, "WAIT_NORM": 3}, 800)
    wide = [each["width"] for each in shapes(drawing)[1:5]]
    assert wide[0] == pytest.approx(2 * wide[1]) and "1,000" in words(drawing)


def test_texts_are_escaped_and_numbers_short():
    canvas = Canvas(10, 10, "a < b & \"c\"", "d > e")
    canvas.text(0, 0, "<script>", on="#000000", after="&")
    assert words(str(canvas)) == ["<script>&"]
    assert ElementTree.fromstring(str(canvas)).get("aria-label") == 'a < b & "c"'
    assert [short(value) for value in (3, 0.25, 1234, 5_600_000, 2e9)] == ["3", "0.25", "1.23k", "5.6M", "2G"]
