# SPDX-License-Identifier: Apache-2.0
"""Waiting for an interrupt of pynq, which gives it as a coroutine, from code that is not one."""

import asyncio
import warnings
from contextlib import suppress
from typing import Any

__all__ = ["event_loop", "interrupt_or", "loop_runs"]

_last_loop: asyncio.AbstractEventLoop | None = None


def event_loop() -> asyncio.AbstractEventLoop:
    """The event loop of this thread, in which pynq asks for interrupts.

    A thread may have no open loop, as after an ``asyncio.run()``. It then gets the last loop that this function
    returned: pynq keeps its handle on an interrupt for good, and with it the loop.
    """
    global _last_loop
    with suppress(RuntimeError), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12, where none was ever set
        loop = asyncio.get_event_loop()
        if not loop.is_closed():
            _last_loop = loop
            return loop
    if _last_loop is None or _last_loop.is_closed():
        _last_loop = asyncio.new_event_loop()
    asyncio.set_event_loop(_last_loop)
    return _last_loop


def loop_runs() -> bool:
    """Whether this thread is inside a running event loop, as a cell of a notebook is."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def interrupt_or(seconds: float, pin: Any) -> None:
    """Wait until the interrupt of ``pin`` comes, or ``seconds`` have passed."""
    try:
        await asyncio.wait_for(pin.wait(), seconds)
    except asyncio.TimeoutError:
        pass
