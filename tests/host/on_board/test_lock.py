# SPDX-License-Identifier: Apache-2.0
"""A machine has one holder: another process, another object, a forked child."""

import os
import signal
import subprocess
import sys

import pytest

from moevit.host.errors import AlreadyInUse, NotOnBoard
from moevit.host.lock import MachineLock
from moevit.host.runtime import Accelerator
from moevit.spec.ip import CONTROL_BASE

HOLD = """
import sys, time
from moevit.host.lock import MachineLock
lock = MachineLock(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""


def test_another_process_has_it(overlay, board):
    name = f"{board.tag}-{CONTROL_BASE:X}"
    other = subprocess.Popen([sys.executable, "-c", HOLD, name], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(AlreadyInUse, match=f"process {other.pid} holds the machine {name}"):
            Accelerator(overlay)
        assert not board.log
    finally:
        other.kill()
        other.communicate()
    Accelerator(overlay).close()  # the kernel has released what a killed process held


def test_twice_in_this_process(loaded, overlay):
    with pytest.raises(AlreadyInUse, match=r"\(this one\).*Call close\(\)"):
        Accelerator(overlay)


def test_lock_is_given_back(tmp_path):
    for _ in range(2):
        lock = MachineLock("a/b", tmp_path)
        assert lock.path.read_text() == str(os.getpid())
        lock.release()
        lock.release()


def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    lock = MachineLock("a", tmp_path)
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        lock.release()
        MachineLock("a", tmp_path).release()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_lock_that_cannot_be_taken_is_a_typed_error(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(AlreadyInUse, match="belongs to another user"):
        MachineLock("a", tmp_path)
    monkeypatch.setattr("os.access", lambda *arguments: False)
    with pytest.raises(NotOnBoard, match="no lock can be kept in"):
        MachineLock("a")
