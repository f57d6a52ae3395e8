# SPDX-License-Identifier: Apache-2.0
"""Explains a failed build by Vivado's logs, in plain words."""

import re
from collections.abc import Iterable
from pathlib import Path

from .exits import ExitCode, VivadoError

__all__ = ["diagnose"]

#: Message in a log, exit code, cause, what to do. The first one found counts.
_KNOWN: tuple[tuple[str, ExitCode, str, str], ...] = (
    (r"\[Common 17-345\]|valid license was not found", ExitCode.LICENCE, "Vivado has no licence for this device",
     "See the licences that Vivado finds (Help, Manage License; XILINXD_LICENSE_FILE); the free edition does not cover "
     "the zcu102's XCZU9EG"),
    (r"\[Board 49-71\]|board_part definition was not found", ExitCode.BOARD_FILES,
     "the board's files are not installed", "Install them (Vivado: Tools, Vivado Store, Boards), or build with "
     "--preset own"),
    (r"\[Coretcl 2-106\]|[Ss]pecified part could not be found", ExitCode.NO_PART, "Vivado does not have this device",
     "Add its family with Vivado's installer (Help, Add Design Tools or Devices)"),
    (r"\[Place 30-640\]|\[DRC UTLZ-1\]", ExitCode.DOES_NOT_FIT, "the design needs more than the device has",
     "Take a smaller configuration: `moevit estimate NETWORK --board BOARD` says what fits"),
    (r"std::bad_alloc|out of memory|[Cc]annot allocate memory|line \d+:\s+\d+ Killed", ExitCode.KILLED,
     "Vivado ran out of memory", "Build with --jobs 1, close other programs, or add swap"),
)
_OURS = re.compile(r"^moevit-error: (.*)$", re.MULTILINE)
_FIXES = {
    ExitCode.NO_PART: "Add its family with Vivado's installer (Help, Add Design Tools or Devices)",
    ExitCode.BOARD_FILES: "Install them (Vivado: Tools, Vivado Store, Boards), or build with --preset own",
    ExitCode.TIMING: "No bitstream was written. See timing.rpt in reports/; a smaller configuration may close",
    ExitCode.INCOMPLETE: "See the end of the run's log below work/project",
}


def diagnose(status: int, logs: Iterable[Path]) -> VivadoError:
    """Why Vivado ended with ``status`` (negative: by that signal). The first of ``logs`` is Vivado's own."""
    paths = [path for path in logs if path.exists()]
    texts = [path.read_text(errors="replace") for path in paths]
    for pattern, code, cause, fix in _KNOWN:
        for path, text in zip(paths, texts, strict=True):
            if found := re.search(rf"^(?!INFO:|(?:CRITICAL )?WARNING:).*(?:{pattern}).*$", text, re.MULTILINE):
                return VivadoError(code, f"{cause}: {found[0].strip()[:300]!r} in {path}", fix)
    if status < 0 or status > 128:
        signal = -status if status < 0 else status - 128
        hint = " (what the kernel does when memory runs out)" if signal == 9 else ""
        return VivadoError(ExitCode.KILLED, f"Vivado was killed by signal {signal}{hint}",
                           "Build with --jobs 1, close other programs, or add swap")
    ours = _OURS.findall(texts[0]) if texts else []
    if ours and status in list(ExitCode):
        code = ExitCode(status)
        return VivadoError(code, ours[-1], _FIXES.get(code, f"See {paths[0]}"))
    errors = [line.strip() for text in texts for line in text.splitlines()
              if line.startswith("ERROR:") or "invalid command name" in line]
    cause = errors[0][:300] if errors else "no error named"
    where = f"See {paths[0]}" if paths else ""
    return VivadoError(ExitCode.SCRIPT, f"Vivado ended with {status}: {cause}", where)
