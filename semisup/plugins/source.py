"""What a class's source says of it, read without importing it: its summary, and its parameters with their help.

The command line lists and explains plugins this way, so that neither torch nor a third-party package is loaded for it.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import resolve_name
from pathlib import Path


@dataclass(frozen=True)
class Option:
    """One parameter of a plugin, as its source declares it."""

    name: str
    type: str
    default: str
    help: str


@dataclass(frozen=True)
class Description:
    """What a plugin's source says of it.

    Attributes:
        summary: the first line of its docstring.
        options: its parameters.
        text: the docstring of its module, and its own.
    """

    summary: str
    options: tuple[Option, ...]
    text: str = ""


def describe(target: str) -> Description:
    """Reads a class's summary and parameters from its source without importing it.

    Parameters are those of `__init__`, or the fields of a dataclass. Inherited ones are found where the base class is
    in the same file, or is named by an import at the top of the file.

    Args:
        target: `"module:Class"`, as an entry point writes it.
    """
    module, _, name = target.partition(":")
    try:
        cls = _locate(module, name, frozenset())
        if cls is None:
            return Description(f"(its source, {target}, can't be read)", ())
        docstring = ast.get_docstring(cls.definition) or ""
        text = f"{ast.get_docstring(cls.tree) or ''}\n{docstring}"
        return Description(docstring.partition("\n")[0], tuple(_parameters(cls).values()), text)
    except (ImportError, SyntaxError, ValueError, KeyError) as error:  # no plugin's fault may break a list of all
        return Description(f"(its source, {target}, can't be read: {type(error).__name__})", ())


def beside(target: str, name: str) -> Path | None:
    """A file that lies beside a class's source; None where there is none.

    Args:
        target: `"module:Class"`, as an entry point writes it.
        name: the file's.
    """
    try:
        spec = _spec(target.partition(":")[0])
    except (ImportError, ValueError):
        return None
    path = Path(spec.origin).with_name(name) if spec is not None and spec.origin else None
    return path if path is not None and path.is_file() else None


def attribute(target: str, name: str) -> str:
    """The text that a class gives an attribute, or the first of its bases that does; empty where there is none.

    Args:
        target: `"module:Class"`, as an entry point writes it.
        name: the attribute's.
    """
    module, _, cls = target.partition(":")
    try:
        return _attribute(_locate(module, cls, frozenset()), name)
    except (ImportError, SyntaxError, ValueError):
        return ""


def _attribute(cls: _Class | None, name: str) -> str:
    if cls is None:
        return ""
    for node in cls.definition.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=assigned)], value=ast.Constant(value=str(text))) if assigned == name:
                return text
            case ast.AnnAssign(target=ast.Name(id=assigned), value=ast.Constant(value=str(text))) if assigned == name:
                return text
    return next(filter(None, (_attribute(base, name) for base in _bases(cls))), "")


def syntax_tree(module: str) -> ast.Module | None:
    """A module's source, parsed; None where there is no such module, or no source of it."""
    spec = _spec(module)
    source = getattr(spec.loader, "get_source", lambda _: None)(spec.name) if spec else None
    return None if source is None else ast.parse(source)


@dataclass(frozen=True)
class _Class:
    """A class as found in a file."""

    definition: ast.ClassDef
    tree: ast.Module
    module: str
    package: str


def _spec(module: str) -> ModuleSpec | None:
    """Where a module is; unlike `importlib.util.find_spec`, imports no parent package on the way.

    Each part of the name is looked up as if it were a top-level one, in the folders of the part before: a namespace
    package below another one can't be found by its full name unless that one is imported.
    """
    spec, path = None, None
    for name in module.split("."):
        spec = PathFinder.find_spec(name, path)
        if spec is None and path is None:  # an editable install finds its top-level modules through a finder of its own
            finders = (finder.find_spec for finder in sys.meta_path if finder is not PathFinder)
            spec = next((spec for find_spec in finders if (spec := find_spec(name, None))), None)
        if spec is None or (name != module.rpartition(".")[2] and spec.submodule_search_locations is None):
            return None
        path = spec.submodule_search_locations
    return spec


def _locate(module: str, name: str, seen: frozenset[tuple[str, str]]) -> _Class | None:
    """A class's definition, in its module or in the one that it is imported from."""
    spec, tree = _spec(module), syntax_tree(module)
    if spec is None or tree is None or (module, name) in seen:
        return None
    package = module if spec.submodule_search_locations else module.rpartition(".")[0]
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _Class(node, tree, module, package)
    for imported in _imports(tree, package, name):
        return _locate(*imported, seen | {(module, name)})
    return None


def _imports(tree: ast.Module, package: str, dotted: str) -> list[tuple[str, str]]:
    """Module and name of what a name such as `Base` or `module.Base` means by the imports of a file."""
    imports = []
    head, _, rest = dotted.partition(".")
    for node in tree.body:
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            shown = alias.asname or alias.name
            if isinstance(node, ast.ImportFrom) and shown == head:
                origin = resolve_name("." * node.level + (node.module or ""), package)
                imports.append((f"{origin}.{alias.name}", rest) if rest else (origin, alias.name))
            elif isinstance(node, ast.Import) and dotted.startswith(f"{shown}."):
                imports.append((alias.name, dotted.removeprefix(f"{shown}.")))
    return imports


def _parameters(cls: _Class) -> dict[str, Option]:
    """The parameters of a class by name, with those that it inherits."""
    body, text = cls.definition.body, ast.get_docstring(cls.definition) or ""
    init = next((node for node in body if isinstance(node, ast.FunctionDef) and node.name == "__init__"), None)
    is_dataclass = any("dataclass" in ast.unparse(decorator) for decorator in cls.definition.decorator_list)
    fixed: set[str | None] = set()
    options: list[Option] = []
    if init:
        options = _arguments(init, f"{text}\n{ast.get_docstring(init) or ''}", cls)
        if init.args.kwarg is None:
            return {option.name: option for option in options}
        calls = [node.keywords for node in ast.walk(init) if isinstance(node, ast.Call)]
        fixed = {k.arg for keywords in calls if any(k.arg is None for k in keywords) for k in keywords}
    elif is_dataclass:
        options = _fields(body, text, cls)
    by_name = {option.name: option for option in options}
    for base in _bases(cls):
        for name, option in _parameters(base).items():
            if name not in fixed:
                by_name.setdefault(name, option)
    return by_name


def _bases(cls: _Class) -> list[_Class]:
    """The definitions of a class's bases, as far as they are not a framework's own."""
    bases = []
    for base in map(ast.unparse, cls.definition.bases):
        imported = _imports(cls.tree, cls.package, base)
        module, name = imported[0] if imported else (cls.module, base)
        there = None if _foreign(module) else _locate(module, name, frozenset())
        if there and there.definition is not cls.definition:
            bases.append(there)
    return bases


def _foreign(module: str) -> bool:
    """Whether it is a framework's own: nothing of theirs is an option, and their files are long."""
    return module.partition(".")[0] in ("torch", "pytorch_lightning", "lightning", "abc", "typing", "collections")


def _arguments(init: ast.FunctionDef, docstring: str, cls: _Class) -> list[Option]:
    arguments = [*init.args.posonlyargs, *init.args.args][1:] + init.args.kwonlyargs
    values = [*init.args.defaults, *init.args.kw_defaults]
    defaults = [None] * (len(arguments) - len(values)) + values
    return [
        Option(
            argument.arg,
            _type(argument.annotation, cls.tree, cls.package),
            ast.unparse(default) if default is not None else "(required)",
            _help(docstring, argument.arg),
        )
        for argument, default in zip(arguments, defaults, strict=True)
    ]


def _fields(body: list[ast.stmt], docstring: str, cls: _Class) -> list[Option]:
    """The parameters of a dataclass."""
    options = []
    for node in body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        annotation = ast.unparse(node.annotation)
        default = ast.unparse(node.value) if node.value else "(required)"
        if isinstance(node.value, ast.Call) and ast.unparse(node.value.func).rpartition(".")[2] == "field":
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.value.keywords}
            if given.get("init") == "False":
                continue
            factory = given.get("default_factory")
            computed = "" if factory and factory.startswith("lambda") else f"{factory}()"  # its help says what it is
            default = given.get("default", computed if factory else "(required)")
        if not re.search(r"\b(ClassVar|KW_ONLY)\b", annotation):
            kind = _type(node.annotation, cls.tree, cls.package)
            options.append(Option(node.target.id, kind, default, _help(docstring, node.target.id)))
    return options


def _type(node: ast.expr | None, tree: ast.Module, package: str) -> str:
    """An annotation as people write it: choices by their values, an alias by what it stands for."""
    match node:
        case None:
            return ""
        case ast.Constant(value=str(text)):
            return _type(ast.parse(text, mode="eval").body, tree, package)
        case ast.Name(id=name):
            return _alias(name, tree, package) or name
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[inner, *_])):
            return _type(inner, tree, package)
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return f"{_type(inner, tree, package)} | None"
        case ast.Subscript(value=ast.Name(id="Union"), slice=ast.Tuple(elts=members)):
            return " | ".join(_type(member, tree, package) for member in members)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            values = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return "|".join(str(v.value) if isinstance(v, ast.Constant) else ast.unparse(v) for v in values)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return f"{_type(left, tree, package)} | {_type(right, tree, package)}"
    return ast.unparse(node)


def _alias(name: str, tree: ast.Module, package: str) -> str:
    """The type that a name was given in its file, or in the one that it is imported from; empty for none."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return _type(node.value, tree, package) if isinstance(node.value, ast.Subscript | ast.BinOp) else ""
    for module, original in _imports(tree, package, name):
        if not _foreign(module) and (there := syntax_tree(module)):
            return _alias(original, there, module.rpartition(".")[0])
    return ""


def _help(docstring: str, parameter: str) -> str:
    """What a Google-style docstring says of a parameter, on one line."""
    described = re.search(rf"^( +){parameter}(?: \([^)]*\))?: (.*(?:\n\1 +.*)*)", docstring, flags=re.MULTILINE)
    return " ".join(described[2].split()) if described else ""
