"""Views that `torch.compile` makes kernels of: of each view one graph, for every step and every size of a batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from torch import Tensor

from semisup import randomness
from semisup.augment.views import View, find_view
from semisup.randomness import Draw

# So that a GPU rounds as it does where every operation is a kernel of its own: no fused products, true quotients.
_EXACT = ("emulate_precision_casts", "eager_numerics.division_rounding", "emulate_divison_rounding")


def compiled_views() -> Callable[[str], View]:
    """What finds views as `find_view` does, but compiled ones, each of them compiled once."""
    return cache(compiled_view)


def compiled_view(name: str) -> View:
    """The view of that name, compiled when it is called first; the bytes are those of `find_view(name)`.

    What seed, stream and step come to goes in as a tensor, so nothing is compiled again for the next step.

    Raises:
        InputError: there is no such view; the message names the nearest one.
    """
    import torch._inductor  # with what compiles, a second to import

    view = find_view(name)
    torch.compiler.assume_constant_result(randomness.number)  # a name's number is as constant as the name
    known = set(torch._inductor.list_options())  # versions of torch differ in them
    run = torch.compile(view, fullgraph=True, options={name: True for name in _EXACT if name in known})

    def of_any_batch(images: Tensor, draw: Draw) -> Tensor:
        if len(images) < 2:  # for which the compiler would make graphs of their own
            return view(images, draw)
        tensors = draw.as_tensors()
        for x in (images, tensors.position):
            torch._dynamo.maybe_mark_dynamic(x, 0)
        return run(images, tensors)

    return of_any_batch
