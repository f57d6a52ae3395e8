# SPDX-License-Identifier: Apache-2.0
"""``python -m moevit.spec``: write the reference tables into ``docs/``."""

from pathlib import Path

from .markdown import DOCUMENTS

if __name__ == "__main__":
    for name, make in DOCUMENTS.items():
        (Path("docs") / name).write_text(make())
