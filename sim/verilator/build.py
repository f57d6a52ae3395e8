# SPDX-License-Identifier: Apache-2.0
"""Verilated cocotb simulations. The cache knows each by everything that it is built from."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import cocotb_tools.config

from moevit.host.errors import SimulationError

from .environment import build_environment, simulator_environment
from .tools import Tools, build_root, find_tools

__all__ = ["BuildFailed", "Simulation", "build", "check_paths", "tail"]

_HERE = Path(__file__).parent
_LINT = _HERE / "lint.vlt"
# -O3 is no faster than -O2 and compiles 20 % longer; OPT_SLOW above -O0 compiles for minutes.
_OPTIMISE = ("OPT_FAST=-O2 -march=native", "OPT_SLOW=-O0", "OPT_GLOBAL=-O2")


class BuildFailed(SimulationError):
    """Verilator or the C++ compiler refused the design. The message ends with the last lines of the log.

    Fix: read the log; if the compiler was killed, free memory and start again.
    """


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of a log file, long ones cut."""
    if not path.exists():
        return "(no log)"
    return "\n".join(line[:300] for line in path.read_text(errors="replace").splitlines()[-lines:])


@dataclass(frozen=True)
class Simulation:
    """A built simulator. ``directory`` exists until somebody empties the cache."""

    directory: Path
    top: str
    waves: bool

    @property
    def program(self) -> Path:
        """The executable."""
        return self.directory / self.top

    def command(self, plusargs: Mapping[str, object], waves_file: Path | None = None) -> list[str]:
        """The command line. ``waves_file`` (VCD) needs a build with waves."""
        if waves_file is not None and not self.waves:
            raise ValueError("this simulation was built without waves")
        trace = [] if waves_file is None else ["--trace", "--trace-file", str(waves_file)]
        return [str(self.program), *trace, *(f"+{name}={value}" for name, value in plusargs.items())]

    def environment(self, module: str, seed: int | None = None) -> dict[str, str]:
        """Environment in which the simulator runs the cocotb tests of ``module``."""
        return simulator_environment(module, self.top, seed)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds a lock, so that parallel tests build once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _digest(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]


def _commands(tools: Tools, directory: Path, top: str, sources: Sequence[Path], native: Sequence[Path],
              options: Sequence[str], ready: Sequence[str]) -> list[list[str]]:
    libraries = cocotb_tools.config.libs_dir
    main = cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"
    verilate = [
        str(tools.verilator), "--cc", "--exe", "-Mdir", str(directory), "--top-module", top, "--prefix", "Vtop",
        "-o", top, "--vpi", "-Wall", "--threads", "1", "-CFLAGS", "-std=c++17",
        "-LDFLAGS", f"-Wl,-rpath,{libraries} -L{libraries} -lcocotbvpi_verilator",
        *options, str(main), *map(str, native), str(_LINT), *map(str, sources),
    ]
    compile_ = [
        tools.make, "-C", str(directory), "-f", "Vtop.mk", "-j", str(os.cpu_count() or 1), *_OPTIMISE,
        # The wheel was configured on another machine: name this one's programs and the flag it lacks.
        f"CXX={tools.compiler}", f"LINK={tools.compiler}", "AR=ar", f"PYTHON3={sys.executable}",
        "CFG_CXXFLAGS_PCH_I=-include",
        *(part for name in ready for part in ("-o", name)),  # Verilator's run-time library, compiled before
    ]
    return [verilate, compile_]


def check_paths(root: Path, tools: Tools | None = None) -> None:
    """Raises BuildFailed if ``root`` or the path of a tool has a space, at which make splits paths. Raises ToolMissing.
    """
    tools = tools or find_tools()
    for path, fix in ((root.resolve(), "Move the checkout, or give another root for builds"),
                      (tools.verilator, "Install Verilator elsewhere, or move the environment that has it"),
                      (Path(sys.executable), "Make the environment elsewhere"),
                      (Path(cocotb_tools.config.libs_dir), "Make the environment elsewhere")):
        if any(letter.isspace() for letter in str(path)):
            raise BuildFailed(f"make cannot build with {str(path)!r}, which has a space", fix=fix)


def build(sources: Mapping[str, str], top: str, public: Sequence[str], *, native: Sequence[Path] = (),
          waves: bool = False, options: Sequence[str] = (), root: Path | None = None) -> Simulation:
    """A simulator of ``sources`` {file name: Verilog text}, from the cache if it is there.

    Parameters
    ----------
    top : the top module
    public : ports of ``top`` that cocotb may read and write; everything else can be optimised away
    native : C++ files with DPI functions
    waves : build with a VCD writer (FST would need the headers of lz4)
    options : further Verilator options
    root : cache folder; left out, ``build/sim`` of the checkout

    Raises ToolMissing, BuildFailed.
    """
    tools = find_tools()
    control = "".join(["`verilator_config\n", *(f'public_flat_rw -module "{top}" -var "{name}"\n' for name in public)])
    files = {"public.vlt": control, **sources}
    options = [*options, *(["--trace-vcd"] if waves else [])]
    key = _digest([files, top, options, [path.read_text() for path in native], _LINT.read_text(), _OPTIMISE,
                   tools.version, version("cocotb"), str(cocotb_tools.config.libs_dir)])
    root = build_root() / "sim" if root is None else root
    check_paths(root, tools)
    final = root / key
    simulation = Simulation(final, top, waves)
    with _locked(root / f"{key}.lock"):
        if simulation.program.exists():
            return simulation
        shutil.rmtree(final, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f"{key}.", dir=root))
        log = work / "build.log"
        for name, text in files.items():
            (work / name).write_text(text)
        runtime = root / f"runtime-{_digest([tools.version, options, _OPTIMISE])}"
        ready = sorted(path.name for path in runtime.glob("*.o"))
        for name in ready:
            os.link(runtime / name, work / name)
        for command in _commands(tools, work, top, [work / name for name in files], native, options, ready):
            with open(log, "a") as file:
                print(*command, file=file, flush=True)
                done = subprocess.run(command, cwd=work, env=build_environment(tools), stdout=file,
                                      stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False)
            if done.returncode != 0:
                shutil.move(log, root / f"{key}.log")
                shutil.rmtree(work)
                raise BuildFailed(
                    f"{Path(command[0]).name} stopped with {done.returncode} building {top}; the end of "
                    f"{root / f'{key}.log'}:\n{tail(root / f'{key}.log')}", log=str(root / f"{key}.log"))
        runtime.mkdir(exist_ok=True)
        for compiled in work.glob("verilated*.o"):
            if compiled.name not in ready:
                os.replace(compiled, runtime / compiled.name)
        for leftover in (*work.glob("*.o"), *work.glob("*.gch"), *work.glob("*.a")):
            leftover.unlink()
        work.rename(final)
    return simulation
