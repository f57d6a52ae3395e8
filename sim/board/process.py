# SPDX-License-Identifier: Apache-2.0
"""A simulator as a child process: it starts, answers, and always ends."""

import json
import socket
import subprocess
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from moevit.host.errors import BusError, SimulationError

from ..verilator.build import Simulation, tail

__all__ = ["SimulatorProcess"]

_START_SECONDS = 60.0
_END_SECONDS = 10.0


def _end(process: subprocess.Popen[bytes], connection: socket.socket) -> None:
    """Close the socket, at which the simulator ends, and kill it if it does not."""
    connection.close()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class SimulatorProcess:
    """One running simulator with ``moevit.sim.board.server`` in it. Any call raises SimulationError if it has died."""

    def __init__(self, simulation: Simulation, directory: Path, plusargs: Mapping[str, object],
                 waves: Path | None = None):
        self.log = directory / "simulator.log"
        ours, theirs = socket.socketpair()
        with theirs, open(self.log, "wb") as log:
            command = simulation.command({**plusargs, "socket": theirs.fileno()}, waves)
            # A session of its own: Ctrl-C reaches this process alone, which then ends the simulator in order.
            self._process = subprocess.Popen(
                command, cwd=directory, env=simulation.environment("moevit.sim.board.server"), stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, pass_fds=[theirs.fileno()], start_new_session=True)
        self._connection, self._buffer = ours, b""
        self._lock = threading.Lock()
        self._holder: int | None = None  # thread that waits for an answer
        self._finalizer = weakref.finalize(self, _end, self._process, ours)
        ours.settimeout(_START_SECONDS)
        try:
            self._receive()
        except TimeoutError as error:
            self.kill()
            raise SimulationError(f"the simulator did not start within {_START_SECONDS:.0f} s:\n{tail(self.log)}",
                                  log=str(self.log)) from error
        ours.settimeout(None)

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, op: str, progress: Callable[[int], None] | None = None, **arguments: Any) -> dict[str, Any]:
        """Send a command and return its answer.

        Meanwhile ``progress`` gets the cycles done; it must not ask the simulator anything. Threads take turns. An
        exception during the wait (Ctrl-C, or of ``progress``) ends the command. A second exception before the command
        has ended ends the simulator.
        """
        if not self._finalizer.alive:
            raise SimulationError("the simulation is closed", fix="Make a new SimulatedBoard")
        if self._holder == threading.get_ident():  # would wait for itself
            raise SimulationError(f"{op} was asked while this thread waits for an answer",
                                  fix="Ask the board nothing in a progress callback or a signal handler")
        with self._lock:
            self._holder = threading.get_ident()
            try:
                self._send({"op": op, **arguments})
                answer = self._answer(progress)
            except SimulationError:
                raise
            except BaseException:
                self._stop()
                raise
            finally:
                self._holder = None
        if "error" in answer:
            raise BusError(answer["message"], fix="Look at the machine's AXI4-Lite port", op=op, **arguments)
        return answer

    def close(self) -> None:
        """End the simulator; may be called twice."""
        self._finalizer()

    def kill(self) -> None:
        """End the simulator at once."""
        self._process.kill()
        self._finalizer()

    def _stop(self) -> None:
        """End an interrupted command, and take its answer."""
        try:
            self._send({"op": "stop"})
            while not self._answer(None).get("stopped"):
                pass
        except BaseException:  # interrupted again: an unread answer would be taken for that of a later command
            self.kill()
            raise

    def _answer(self, progress: Callable[[int], None] | None) -> dict[str, Any]:
        while True:
            message = self._receive()
            if "progress" not in message:
                return message
            if progress is not None:
                progress(message["progress"])

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            raise self._died() from None

    def _receive(self) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            try:
                part = self._connection.recv(1 << 16)
            except TimeoutError:
                raise
            except OSError:  # closed, here or there
                part = b""
            if not part:
                raise self._died()
            self._buffer += part
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)

    def _died(self) -> SimulationError:
        self._finalizer()
        code = self._process.returncode
        broken = [line[line.index("AXI rule:"):] for line in self.log.read_text(errors="replace").splitlines()
                  if "AXI rule:" in line]
        if broken:
            return SimulationError(broken[0], fix="Record waves and look at this cycle", log=str(self.log),
                                   exit_code=code)
        return SimulationError(f"the simulator ended with {code}:\n{tail(self.log)}", log=str(self.log), exit_code=code)
