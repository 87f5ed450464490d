"""Give the site the repository's own tree: mkdocs reads a copy of what Git has, without tests and data."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = ("tests/", "dia/datasets/data/photographs/", "dia/datasets/data/mnist", "docs/site/", ".")


def on_config(config: Any) -> Any:
    """Copy the tree, and read pages from the copy."""
    copy = ROOT / "build" / "docs"
    shutil.rmtree(copy, ignore_errors=True)
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in names:
        if name and not name.startswith(LEFT_OUT) and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    config["docs_dir"] = str(copy)
    return config
