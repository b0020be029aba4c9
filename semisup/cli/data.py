"""`semisup data download NAME` fetches a dataset, and only when asked; `semisup data clean` removes old caches.

Free of torch. A datamodule's distribution offers what there is through the entry-point groups `semisup.downloads`,
functions of the root folder, and `semisup.caches`, functions from the root folder to a list of `Cache`.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from contextlib import nullcontext, suppress
from importlib.metadata import entry_points
from pathlib import Path

from filelock import FileLock

from semisup import plugins
from semisup.cli import ROOT
from semisup.data.cache import Cache
from semisup.errors import InputError, require
from semisup.escape import printable, shell
from semisup.runs.paths import local


def add_options(parser: ArgumentParser) -> None:
    """The options of `semisup data`."""
    parser.add_argument("action", choices=["download", "clean"])
    parser.add_argument("name", nargs="?", help="of the dataset to download; `semisup list datamodules` lists them")
    parser.add_argument("--root", default=ROOT, help="the folder of the dataset (default: %(default)s)")
    parser.add_argument("--all", action="store_true", help="clean: remove the caches that are in use as well")
    parser.add_argument("--list", action="store_true", help="clean: remove nothing")


def run(request: Namespace) -> None:
    """Fetches the dataset `request.name` into `request.root`, or removes caches there and in the user's cache folder.

    Raises:
        InputError: the dataset can't be fetched, or was not what it should be; a cache can't be removed.
    """
    root = local(request.root)
    require(root.is_dir() or not root.exists(), f"{root} is not a folder; type --root with the name of one")
    if request.action == "clean":
        if request.name is not None:
            raise InputError(f"semisup data clean takes a folder as --root {shell(Path(request.name))}")
        _clean(root, request.all, request.list)
    else:
        require(not (request.all or request.list), "--all and --list are options of `semisup data clean`")
        _download(request.name, root)


def _download(name: str | None, root: Path) -> None:
    downloads = {point.name: point for point in entry_points(group="semisup.downloads")}
    require(name is not None, f"type which dataset to download: {', '.join(sorted(downloads))}")
    plugins.find(plugins.DATAMODULES, str(name))
    if name not in downloads:
        raise InputError(
            f"{name} is not fetched by this command, which fetches {', '.join(sorted(downloads))}; "
            f"`semisup fit --help {name}` tells what it needs"
        )
    downloads[name].load()(root)


def _clean(root: Path, everything: bool, only_list: bool) -> None:
    """Lists caches, and removes those that no run will use again, or all of them."""
    caches: list[Cache] = [cache for point in entry_points(group="semisup.caches") for cache in point.load()(root)]
    freed = 0
    for cache in caches:
        size, state = cache.size, cache.old or "may be used again"
        done = "kept"
        if not only_list and (everything or cache.old):
            done = "removed" if _remove(cache) else "kept, as another process writes it"
            freed += size if done == "removed" else 0
        print(printable(f"{_amount(size):>9}  {cache.files[0]}: {cache.what}; {state}: {done}"))
    if not caches:
        print(f"there are no caches in {printable(str(root))}, nor in the user's cache folder")
    elif not only_list:
        kept = "" if everything else "; type --all to remove those that may be used again as well"
        print(f"{_amount(freed)} freed{kept}")


def _remove(cache: Cache) -> bool:
    """Removes a cache, unless another process writes it; the folder too, where nothing else is in it."""
    try:
        with FileLock(cache.lock).acquire(0) if cache.lock else nullcontext():
            for path in cache.files:
                path.unlink(missing_ok=True)
    except TimeoutError:
        return False
    except OSError as error:
        raise InputError(f"can't remove {cache.files[0]} ({error.strerror})") from error
    with suppress(OSError):
        cache.files[0].parent.rmdir()
    return True


def _amount(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
