"""What MkDocs calls: pages made from sources join the written ones, and written ones are given the figures they name.

`<!-- results: TITLE -->` in a page is replaced by the first table of that section of experiments/RESULTS.md, and
`<!-- rooms -->` by the picture of the rooms, so that no figure is copied by hand.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))

import generated
import results
import rooms

from semisup import plugins

_ROOT = Path(__file__).parents[1]
_PICTURES = {  # name on the site -> file of experiments/
    "compare-page.png": "compare-page.png",
    "ladder-curves.png": "ladder/curves.png",
    "ladder-filters.png": "ladder/filters.png",
}


def on_config(config: Any) -> Any:
    """Lists the pages of the methods where mkdocs.yml has the page of all."""
    names = [{name: f"methods/{name}.md"} for name in plugins.installed(plugins.STRATEGIES)]
    for part in config.nav:
        for entry in next(iter(part.values())):
            if isinstance(entry, dict) and entry.get("Methods") == "methods/index.md":
                entry["Methods"] = [{"All": "methods/index.md"}, *names]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds the generated pages."""
    measured = results.read(_ROOT / "experiments" / "RESULTS.md")
    for path, text in generated.pages(measured).items():
        files.append(File.generated(config, path, content=text))
    for name, path in _PICTURES.items():
        files.append(File.generated(config, name, abs_src_path=str(_ROOT / "experiments" / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Puts figures and pictures into a written page."""
    measured = results.read(_ROOT / "experiments" / "RESULTS.md")
    markdown = re.sub(r"<!-- results: (.+?) -->", lambda match: results.shown(measured, match[1]), markdown)
    markdown = re.sub(r"^\|.*", lambda line: results.unbroken(line[0]), markdown, flags=re.MULTILINE)
    return markdown.replace("<!-- rooms -->", rooms.picture(_ROOT))
