"""A page that needs nothing but a browser: one HTML file with its style, its script and its data in it.

Templates forbid it to load anything by a content security policy, which lets run only the script that is in it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from semisup import escape


def render(
    folder: Path,
    template: str,
    style: Sequence[str],
    script: Sequence[str],
    data: Any,
    filters: Mapping[str, Callable[..., Any]] | None = None,
    **content: Any,
) -> str:
    """The whole document.

    Args:
        folder: that the files are in.
        template: of Jinja, which is given `style`, `script`, `style_hash`, `script_hash`, `json` and the content. What
            it shows is escaped, as everywhere.
        style: files of CSS.
        script: files of JavaScript.
        data: for the script, as JSON has it.
        filters: of the template.
        content: for the template.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def finalize(value: Any) -> Any:  # the same text as in reports, whatever stands in it
        return value if isinstance(value, Markup) else Markup(escape.html(str(value)))

    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= dict(filters or {})
    joined = {
        name: "\n".join((folder / file).read_text(encoding="utf-8") for file in files)
        for name, files in (("style", style), ("script", script))
    }
    hashes = {f"{name}_hash": _hash(text) for name, text in joined.items()}
    return environment.get_template(template).render(json=_inert(data), **joined, **hashes, **content)


def _inert(data: Any) -> str:
    """JSON that can't end the element it stands in, nor open another."""
    text = json.dumps(_printable(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _printable(data: Any) -> Any:
    """The data with its texts as the HTML has them, since the script finds one by the other."""
    if isinstance(data, dict):
        return {_printable(name): _printable(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_printable(value) for value in data]
    return escape.printable(data) if isinstance(data, str) else data


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
