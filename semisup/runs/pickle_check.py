"""Looks at a pickle before anything of it is built: what it would call, how much, and how deep in one another.

torch's reader of weights runs no code of others. It does let a file name functions that allocate as much as they are
asked to (`bytearray`, `torch.FloatTensor`), grow a tensor beyond what the file holds, and nest tuples so deeply that
hashing them overflows the stack. A checkpoint does none of this; the pickle is followed here, and nothing is called.
"""

from __future__ import annotations

import pickletools
from typing import NamedTuple

from semisup.errors import InputError, require

MAX_DEPTH = 100  # mappings, lists and tuples in one another
MAX_INSTRUCTIONS = 1_000_000  # instructions, about three to a value
# Values that an instruction takes off the stack; None: all since the last mark.
_TAKES: dict[str, int | None] = {
    **dict.fromkeys(("APPEND", "REDUCE", "NEWOBJ", "BUILD", "BINPERSID", "TUPLE1"), 1),
    **{"SETITEM": 2, "TUPLE2": 2, "TUPLE3": 3, "APPENDS": None, "SETITEMS": None, "TUPLE": None},
}
_INTO = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "REDUCE", "NEWOBJ", "BUILD")  # what lies below then
_REBUILDS = ("_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter", "_rebuild_parameter_with_state")
_ORDERED = "collections OrderedDict"
_CALLED = {  # what a pickle of tensors and plain values calls, and what gives no more than it takes
    *(_ORDERED, "collections Counter", "torch Size", "torch device", "_codecs encode"),
    *(f"{module} {name}" for module in ("builtins", "__builtin__") for name in ("set", "complex")),
    *(f"torch._utils {name}" for name in _REBUILDS),
}


class _Value(NamedTuple):
    """A value on the stack: what it is, where that is a global or what one gave, and how deep it is."""

    source: str = ""
    depth: int = 0


def check(pickle: bytes) -> int:
    """Follows a pickle, and returns how many instructions it has.

    Raises:
        InputError: it would call something else than checkpoints do, or is too large or too deep.
        ValueError, LookupError: it is damaged.
    """
    stack: list[_Value] = []
    marks: list[int] = []
    memo: dict[object, _Value] = {}
    number = 0
    for number, (operation, argument, _) in enumerate(pickletools.genops(pickle), 1):
        if number > MAX_INSTRUCTIONS:
            raise InputError(f"it has over {MAX_INSTRUCTIONS:,} instructions")
        name = operation.name
        if name in ("PROTO", "STOP"):
            continue
        if name == "MARK":
            marks.append(len(stack))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        else:
            count = _TAKES.get(name, 0)
            begin = marks.pop() if count is None else len(stack) - count
            depth = max((1 + value.depth for value in stack[begin:]), default=0)
            del stack[begin:]
            source = str(argument) if name == "GLOBAL" else ""
            if name in _INTO:
                below = stack.pop()
                source, depth = _source(name, below.source), max(depth, below.depth)
            stack.append(_Value(source, depth))
            if depth > MAX_DEPTH:
                raise InputError(f"it holds more than {MAX_DEPTH} mappings, lists or tuples in one another")
    return number


def _source(name: str, below: str) -> str:
    """What an operation on what lies below it comes to."""
    if name in ("REDUCE", "NEWOBJ"):
        require(below in _CALLED, f"it would call {below.replace(' ', '.') or 'a value'}, which no checkpoint does")
        return f"{below}()"
    right = name != "BUILD" or below == f"{_ORDERED}()"
    require(right, "it would change what it has built, which no checkpoint does")
    return below
