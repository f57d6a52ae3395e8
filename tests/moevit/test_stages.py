# SPDX-License-Identifier: Apache-2.0
"""Lines of progress without a terminal, on a clock that the test moves."""

from itertools import islice

import pytest

from moevit.cli import stages
from moevit.cli.stages import line_times


class Clock:
    """A clock and an event at once: waiting moves the clock. The event happens at ``end`` seconds."""

    def __init__(self, end, late=0.0):
        self.now, self.end, self.late = 1000.0, 1000.0 + end, late

    def monotonic(self):
        return self.now

    def wait(self, seconds):
        over = self.now + seconds >= self.end
        self.now = self.end if over else self.now + seconds + self.late
        return over


@pytest.fixture
def lines(monkeypatch):
    """Run a stage of so many seconds, and return the seconds and texts of its lines."""

    def run(seconds, late=0.0):
        clock, found = Clock(seconds, late), []
        monkeypatch.setattr(stages, "time", clock)
        monkeypatch.setattr(stages, "_line", lambda stage, text: found.append((round(stage.seconds, 1), text)))
        stage = stages.Stage("build", stages.Progress(disable=True), stages.TaskID(0))
        stage.detail = "unit"
        stages._tell(stage, clock)
        return found

    return run


def test_lines_become_sparser():
    assert list(islice(line_times(), 8)) == [4, 8, 16, 32, 64, 124, 184, 244]


def test_no_silence_at_the_begin_of_a_stage():
    assert next(line_times()) <= 5


def test_a_stage_of_an_hour_has_few_lines(lines):
    found = lines(3600)
    assert [seconds for seconds, _ in found[:6]] == [4, 8, 16, 32, 64, 124]
    assert len(found) == 63 and {text for _, text in found} == {"unit"}
    assert max(after - before for (before, _), (after, _) in zip(found, found[1:], strict=False)) == 60


def test_a_quick_stage_has_no_line_of_progress(lines):
    assert lines(3.9) == []


def test_late_lines_do_not_shift_the_others(lines):
    """A busy machine wakes the thread late."""
    assert [seconds for seconds, _ in lines(70, late=0.5)] == [4.5, 8.5, 16.5, 32.5, 64.5]
