"""What the source of a plugin says of it, without importing it: its summary, its options, their help."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

from semisup.plugins import source

Install = Callable[..., Path]


def options(target: str) -> dict[str, tuple[str, str, str]]:
    return {o.name: (o.type, o.default, o.help) for o in source.describe(target).options}


def test_describe_imports_nothing(install: Install) -> None:
    install("d0", {}, d0_m='raise SystemError\nclass A:\n    """One line.\n\n    More."""\n')
    assert source.describe("d0_m:A") == source.Description("One line.", (), "\nOne line.\n\nMore.")
    assert "d0_m" not in sys.modules


def test_an_attribute_is_that_of_the_class_or_of_its_nearest_base(install: Install) -> None:
    base = """
        raise SystemError
        class Top:
            x: str = "top"
            y = "of the top"
        class Base(Top):
            x = "base"
    """
    classes = "from d00_b import Base\nclass A(Base): x: int = 3\nclass B(A): x = 'own'\nclass C: pass\n"
    install("d00", {}, d00_b=base, d00_m=classes)
    found = {name: [source.attribute(f"d00_m:{cls}", name) for cls in "ABCD"] for name in ("x", "y", "z")}
    assert found == {"x": ["base", "own", "", ""], "y": ["of the top"] * 2 + ["", ""], "z": [""] * 4}
    assert source.attribute("no_such_module:A", "x") == "" and "d00_b" not in sys.modules


def test_parameters_of_init(install: Install) -> None:
    source = '''
        from typing import Literal, Optional, Union
        Rule = Literal["top", "all"]
        class A:
            """A.

            Args:
                x: how many, of
                    whatever there is.
                y (float): how much.
            """
            def __init__(self, x: "int", y: float = .5, *args, rule: Rule = "top", z: Optional[int] = None,
                         u: Union[int, list[str]] = 3, v: int | None, w=7): ...
    '''
    install("d1", {}, d1_m=source)
    assert options("d1_m:A") == {
        "x": ("int", "(required)", "how many, of whatever there is."),
        "y": ("float", "0.5", "how much."),
        "rule": ("top|all", "'top'", ""),
        "z": ("int | None", "None", ""),
        "u": ("int | list[str]", "3", ""),
        "v": ("int | None", "(required)", ""),
        "w": ("", "7", ""),
    }


def test_an_alias_that_is_imported_is_written_out(install: Install) -> None:
    aliases = 'from typing import Annotated, Literal\nKind = Literal["a", "b"] | None\nclass Plain: pass\n'
    aliases += "Count = Annotated[int | None, 1, 2]\n"
    classes = "from d6_k import Count, Kind as Sort, Plain\nclass A:\n"
    classes += "    def __init__(self, k: Sort, p: Plain, c: Count, f: Annotated[float, 3]): ...\n"
    install("d6", {}, d6_k=aliases, d6_m=classes)
    assert [kind for kind, _, _ in options("d6_m:A").values()] == ["a|b | None", "Plain", "int | None", "float"]
    assert "d6_k" not in sys.modules


def test_fields_of_a_dataclass(install: Install) -> None:
    source = '''
        import dataclasses
        from dataclasses import KW_ONLY, dataclass, field
        from typing import ClassVar
        @dataclass
        class Base:
            """Base.

            Args:
                b: from the base.
            """
            b: int = 1
        @dataclasses.dataclass(frozen=True)
        class A(Base):
            """A.

            Attributes:
                x: an x.
            """
            kind: ClassVar[str] = "no option"
            x: int
            _: KW_ONLY
            y: list[int] = field(default_factory=list)
            z: float = dataclasses.field(default=2.0, repr=False)
            hidden: int = field(init=False)
    '''
    install("d2", {}, d2_m=source)
    assert options("d2_m:A") == {
        "x": ("int", "(required)", "an x."),
        "y": ("list[int]", "list()", ""),
        "z": ("float", "2.0", ""),
        "b": ("int", "1", "from the base."),
    }


def test_inherited_parameters(install: Install) -> None:
    base = '''
        class Base:
            """Base.

            Args:
                size: of the base.
            """
            def __init__(self, size: int = 1, depth: int = 2, fixed: int = 3): ...
    '''
    package = {
        "d3_p/__init__": "",
        "d3_p/base": base,
        "d3_p/sub/__init__": "from ..base import Base as Again",
        "d3_p/passes_on": """
            from .base import Base
            class A(Base):
                def __init__(self, size: int = 9, **kwargs): super().__init__(size=size, fixed=0, **kwargs)
        """,
        "d3_p/silent": "from d3_p import base\nclass A(base.Base): pass\n",
        "d3_p/dotted": "import d3_p.base\nclass A(d3_p.base.Base): pass\n",
        "d3_p/through": "from typing import Generic\nfrom d3_p.sub import Again\nclass A(Generic[int], Again): pass\n",
        "d3_p/closed": "from d3_p.base import Base\nclass A(Base):\n    def __init__(self, own: int = 0): ...\n",
    }
    install("d3", {}, **package)
    all_of_base = {"size": ("int", "1", "of the base."), "depth": ("int", "2", ""), "fixed": ("int", "3", "")}
    assert options("d3_p.passes_on:A") == {"size": ("int", "9", ""), "depth": ("int", "2", "")}
    assert options("d3_p.silent:A") == options("d3_p.dotted:A") == options("d3_p.through:A") == all_of_base
    assert options("d3_p.closed:A") == {"own": ("int", "0", "")}
    assert not [name for name in sys.modules if name.startswith("d3_p")]


@pytest.mark.parametrize(
    "target", ["d4_wrong:A", "d4_loop:A", "d4_latin:A", "d4_empty:A", "no_such_module:A", "no.such.module:A", "sys:A"]
)
def test_a_source_that_cannot_be_read_says_so_and_breaks_nothing(install: Install, target: str) -> None:
    folder = install("d4", {}, d4_wrong="class A(:", d4_loop="from d4_loop import A", d4_empty="")
    (folder / "d4_latin.py").write_bytes(b'"""\xe9"""')
    description = source.describe(target)
    assert description.summary.startswith(f"(its source, {target}, can't be read")
    assert description.options == ()


def test_a_namespace_package_and_an_editable_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "d5_space" / "inner").mkdir(parents=True)
    (tmp_path / "d5_space" / "inner" / "m.py").write_text('class A:\n    """Found."""\n')

    class Finder:
        """Maps a top-level module, as setuptools' editable installs do."""

        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> object:
            return PathFinder.find_spec(name, [str(tmp_path)]) if name == "d5_edit" else None

    (tmp_path / "d5_edit.py").write_text('class A:\n    """Edited."""\n')
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    assert source.describe("d5_edit:A").summary == "Edited."
    monkeypatch.syspath_prepend(str(tmp_path))
    assert source.describe("d5_space.inner.m:A").summary == "Found."
