"""Print the package's dependencies, each at the lowest version that pyproject.toml allows, for pip to install.

    python tests/lowest.py > requirements.txt

torch is left out: builds differ by machine, and the one that is there is kept.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def lowest(dependency: str) -> str:
    """``name==1.2`` of ``name>=1.2,<2``."""
    name, version = re.fullmatch(r"([\w.-]+)>=([\w.]+)(?:,.*)?", dependency).groups()
    return f"{name}=={version}"


if __name__ == "__main__":
    print(
        *(lowest(dependency) for dependency in PROJECT["dependencies"] if not dependency.startswith("torch>")), sep="\n"
    )
