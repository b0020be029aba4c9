"""The source starts no shell, unpickles nothing and evaluates nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from semisup.runs import safe_yaml

ROOT = Path(__file__).parents[1]
SOURCES = [path for room in ("semisup", "strategies", "datamodules") for path in sorted((ROOT / room).rglob("*.py"))]


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a file, by its dotted name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keyword(call: ast.Call, name: str) -> Any:
    """The constant that a keyword is given."""
    return next((ast.literal_eval(k.value) for k in call.keywords if k.arg == name), None)


def faults(path: Path) -> list[str]:
    """What a file does that runs code that it was given, or trusts a file that others wrote."""
    found = []
    for name, call in calls(path):
        bare = name in ("eval", "exec", "compile", "__import__", "os.system", "os.popen", "tempfile.mktemp")
        unsafe = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
        unsafe |= dict.fromkeys(("np.lib.format.read_array", "numpy.load"), ("allow_pickle", False))
        trusting = name in unsafe and keyword(call, unsafe[name][0]) is not unsafe[name][1]
        tensors = name == "torch.hub.load_state_dict_from_url" and keyword(call, "weights_only") is True
        unpacking = name.endswith((".extractall", ".unpack_archive")) or (".hub." in name and not tensors)
        shell = any(k.arg == "shell" for k in call.keywords) or name in ("os.execl", "os.spawnl", "pty.spawn")
        loader = name in ("yaml.load", "yaml.load_all") and path.name != "safe_yaml.py"
        unsafe_yaml = name in ("yaml.unsafe_load", "yaml.full_load")
        if bare or trusting or unpacking or shell or loader or unsafe_yaml:
            found.append(f"{path}:{call.lineno}: {name}")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        unpicklers = {"pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
        found += [f"{path}:{node.lineno}: {name}" for name in names if name.partition(".")[0] in unpicklers]
    return found


def test_the_source_has_no_shell_no_pickle_and_evaluates_nothing() -> None:
    assert len(SOURCES) > 100
    assert [fault for path in SOURCES for fault in faults(path)] == []
    assert issubclass(safe_yaml._LOADER, yaml.SafeLoader | yaml.CSafeLoader)


@pytest.mark.parametrize(
    "line",
    [
        *("eval('1')", "exec(x)", "os.system('ls')", "subprocess.run('ls', shell=True)", "torch.load(x)"),
        *("torch.load(x, weights_only=False)", "np.load(x)", "np.load(x, allow_pickle=True)", "yaml.load(x, Loader)"),
        *("import pickle", "from joblib import load", "tar.extractall(x)", "yaml.unsafe_load(x)", "torch.hub.load(x)"),
        "torch.hub.load_state_dict_from_url(x)",
    ],
)
def test_what_the_source_must_not_have_is_found(line: str, tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(f"{line}\n")
    assert len(faults(tmp_path / "x.py")) == 1
