# SPDX-License-Identifier: Apache-2.0
"""Docstrings of components are taken apart, and become Markdown."""

from moevit.pages.components import Docstring
from moevit.pages.markdown import plain, slug

TEXT = """Adds ``a`` and
    ``b``.

    ``o = a + b``

    Golden: ``golden.x``.
    Latency: 2 cycles from ``a`` to ``o``
    (`latency`).

    Parameters
    ----------
    width : int
        bits

    Members
    -------
    a, b : In(Flow(signed(8)))
        terms
    x_0, x_1, ... : In(1), one each
    o : Out(8)
        the sum
    """


def test_docstring():
    doc = Docstring.of(TEXT)
    assert doc.first == "Adds ``a`` and ``b``." and doc.paragraphs == ["``o = a + b``"]
    assert doc.labels == {"Golden": "``golden.x``.", "Latency": "2 cycles from ``a`` to ``o`` (`latency`)."}
    assert doc.members == {"a": ("In(Flow(signed(8)))", "terms"), "b": ("In(Flow(signed(8)))", "terms"),
                           "x_0": ("In(1)", "one each"), "x_1": ("In(1)", "one each"), "o": ("Out(8)", "the sum")}


def test_plain_keeps_code_and_escapes_the_rest():
    assert plain("``a * b`` is :attr:`~x.y`, not a * b <c>") == r"`a * b` is `x.y`, not a \* b \<c\>"


def test_anchors_are_those_of_headings():
    assert slug("moevit board-sim") == "moevit-board-sim" and slug("What fits?") == "what-fits"
