"""`semisup data download NAME`: fetches a dataset, and only when asked. Free of torch.

A datamodule's distribution offers it through the entry-point group `semisup.downloads`: a function of the root folder.
"""

from __future__ import annotations

from argparse import Namespace
from importlib.metadata import entry_points
from pathlib import Path

from semisup.errors import InputError


def run(request: Namespace) -> None:
    """Fetches the dataset `request.name` into the folder `request.root`.

    Raises:
        InputError: it can't be fetched, or it was not what it should be.
    """
    downloads = {point.name: point for point in entry_points(group="semisup.downloads")}
    if request.name not in downloads:
        raise InputError(
            f"{request.name} is not fetched by this command, which fetches {', '.join(sorted(downloads))}; "
            f"`semisup fit --help {request.name}` tells what it needs"
        )
    downloads[request.name].load()(Path(request.root))
