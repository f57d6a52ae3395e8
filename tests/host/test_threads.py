# SPDX-License-Identifier: Apache-2.0
"""Two threads and one machine: one is refused or waits, and each gets its own tokens."""

import concurrent.futures
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from moevit.host.errors import Busy


def test_a_second_thread_is_refused_meanwhile(loaded, device, bundle, tiny_image):
    waiting, over = threading.Event(), threading.Event()
    device.wait = lambda timeout: (waiting.set(), over.wait(60))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(loaded.run_raw, tiny_image, "depth")
        assert waiting.wait(60)
        for call in (lambda: loaded.run(tiny_image, "semseg"), lambda: loaded.load(bundle),
                     lambda: loaded.select("semseg"), lambda: next(loaded.stream([tiny_image], "semseg"))):
            with pytest.raises(Busy, match="another thread"):
                call()
        over.set()
        tokens = first.result(60)
    np.testing.assert_array_equal(loaded.run_raw(tiny_image, "depth"), tokens)


def test_a_stream_returns_what_its_own_run_wrote(loaded, tiny_image):
    """Runs a function in another thread as soon as the machine allows it."""
    other = np.ascontiguousarray(tiny_image[::-1])
    expected, lock = loaded.run(tiny_image, "depth"), loaded._lock

    class Lock:
        depth = 0

        def acquire(self, blocking):
            self.depth += 1
            return lock.acquire(blocking)

        def release(self):
            self.depth -= 1
            lock.release()
            if not self.depth and not loaded._control.running:
                loaded._lock = lock
                assert not np.array_equal(loaded.run(other, "depth"), expected)
                loaded._lock = self

    loaded._lock = Lock()
    np.testing.assert_array_equal(list(loaded.stream([tiny_image], "depth")), [expected])


def test_close_waits_for_another_threads_run(loaded, device, tiny_image):
    waiting, over = threading.Event(), threading.Event()
    device.wait = lambda timeout: (waiting.set(), over.wait(60))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(loaded.run_raw, tiny_image, "depth")
        assert waiting.wait(60)
        closing = pool.submit(loaded.close)
        with pytest.raises(concurrent.futures.TimeoutError):
            closing.result(0.2)
        assert all(len(buffer.array) for buffer in device.buffers)
        over.set()
        assert first.result(60).any()
        closing.result(60)
