# SPDX-License-Identifier: Apache-2.0
"""``moevit docs``: the pages and pictures that are made from the code."""

from pathlib import Path
from typing import Annotated

import typer

from moevit.pages.documents import documents, left_over

from .screen import say, told
from .stages import Stages


def docs(
    root: Annotated[Path, typer.Option(exists=True, file_okay=False, help="checkout whose docs/ is written")] = Path(),
) -> None:
    """Write the generated pages and pictures of docs/."""
    with told(OSError):
        made = documents(root)
        texts = {root / "docs" / name: text for name, text in made.items()}
        for path in {path.parent for path in texts}:
            path.mkdir(parents=True, exist_ok=True)
        Stages(*texts)
        changed = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
        for path in changed:
            path.write_text(texts[path])
            say(str(path))
        for path in left_over(root, made):
            path.unlink()
            say(f"{path} is no more")
    say(f"{len(texts)} files, {len(changed)} written")
