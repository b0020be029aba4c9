"""Launcher detection: a process is started by the user, by rank 0 of the run, or by torchrun, SLURM's srun or the like.

    semisup fit --trainer.devices 2 --trainer.strategy ddp                      rank 0 starts the other one
    torchrun --nproc_per_node 2 -m semisup fit                                  torchrun starts both
    srun --nodes 2 --ntasks-per-node 4 python -m semisup fit                    SLURM starts all eight

Lightning finds out by itself which launcher there was, and who meets whom where. Here is what it leaves open: how many
devices the trainer then has, and how the ranks agree on what only one of them can decide.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from pytorch_lightning.plugins.environments import (
    ClusterEnvironment,
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch.distributed import (
    DistError,
    PrefixStore,
    Store,
    destroy_process_group,
    is_initialized,
    rendezvous,
)

from semisup.errors import InputError, require
from semisup.escape import nearby, shell

_LAUNCHERS: dict[str, type[ClusterEnvironment]] = {
    "torchrun": TorchElasticEnvironment,
    "SLURM": SLURMEnvironment,
    "LSF": LSFEnvironment,
    "MPI": MPIEnvironment,
}
# Where a launcher says how many processes it started on this node.
_ON_THIS_NODE = {"torchrun": "LOCAL_WORLD_SIZE", "SLURM": "SLURM_NTASKS_PER_NODE"}
ANSWER = "SEMISUP_RANK_0"  # the variable in which rank 0 leaves a decision to the ranks that it starts
_GRACE = 10  # seconds to report the loss of rank 0, or to finish, before the process ends
_number = count()
_trainings = count()  # of this program


def launcher() -> tuple[str, ClusterEnvironment] | None:
    """The launcher that started this process as one of several, by name, and what Lightning knows of it.

    None where there was none, or where it started a single process.

    Raises:
        InputError: SLURM was told the number of tasks in a way from which nobody can tell who runs where.
    """
    for name, kind in _LAUNCHERS.items():  # in the order in which Lightning looks for them
        if kind.detect():
            try:
                environment = kind()
            except RuntimeError as error:
                raise InputError(f"{name}: {error}") from error
            return (name, environment) if environment.world_size() > 1 else None
    return None


def fill_in(flags: dict[str, Any]) -> dict[str, Any]:
    """The Trainer's flags with the launcher's number of devices and nodes where none was asked for."""
    if (launched := launcher()) and (here := _on_this_node()):
        if flags.get("devices", "auto") == "auto":
            flags = {**flags, "devices": here}
        if flags.get("num_nodes", 1) == 1:
            flags = {**flags, "num_nodes": max(1, launched[1].world_size() // here)}
    return flags


def check(devices: int, nodes: int) -> None:
    """Refuses a number of ranks that the launcher did not start.

    Args:
        devices: that a trainer has on every node.
        nodes: that it has.

    Raises:
        InputError: other numbers were launched, or nobody launched several nodes.
    """
    asked = f"--trainer.devices {devices} and --trainer.num_nodes {nodes}"
    if launched := launcher():
        name, started = launched[0], launched[1].world_size()
        here = _on_this_node() or devices
        require(
            started == devices * nodes and here == devices,
            f"{name} started {started} processes, {here} of them on this node, and {asked} ask for {devices * nodes}; "
            f"leave both options out, or let {name} start as many",
        )
    else:
        require(
            nodes == 1,
            f"--trainer.num_nodes is {nodes}, and no launcher started this process; start the ranks of several nodes "
            f"with torchrun --nnodes {nodes} or srun --nodes {nodes}",
        )


def check_program(ranks: int) -> None:
    """Refuses ranks that would be started by running this program again, where it would do something else than train.

    Args:
        ranks: of a training that this program begins.

    Raises:
        InputError: it is no file, or it has trained before, which it would do again on every rank.
    """
    before, main = next(_trainings), getattr(sys.modules["__main__"], "__file__", None)
    if ranks == 1 or launcher():
        return
    begins = f"a training on {ranks} devices starts this program again for each device"
    advice = "type semisup fit with these options in a shell, or leave trainer.devices at 1"
    require(main is not None and Path(main).is_file(), f"{begins}, and it is no file; put it into one, or {advice}")
    require(
        not before, f"{begins}, and it has trained before; put this training into a program of its own, or {advice}"
    )


def end_started_ranks() -> None:
    """Leaves the rest of the program to rank 0: where that started this process for a training, it ends here."""
    if launcher() is None and is_initialized():
        destroy_process_group()
        if os.environ.get("LOCAL_RANK", "0") != "0":
            raise SystemExit(0)


def _on_this_node() -> int:
    """How many processes the launcher started on this node; 0 where it doesn't say."""
    launched = launcher()
    return int(os.environ.get(_ON_THIS_NODE.get(launched[0], ""), 0)) if launched else 0


def from_rank_zero(make: Callable[[], str]) -> str:
    """What `make` returns on rank 0, on every rank; only rank 0 calls it.

    Ranks that a launcher started ask rank 0 over the network, where the process group is to meet. Those that rank 0
    starts itself, later, find the answer in their environment beside its process id, so that a variable that another
    run left is never believed.

    Raises:
        InputError: this process is another rank, and rank 0 can't be asked or ended without an answer.
    """
    if launched := launcher():
        with _meeting() as (store, key):
            if launched[1].global_rank() == 0:
                store.set(key, make())
            return store.get(key).decode()
    if os.environ.get("LOCAL_RANK", "0") == "0":
        made = make()
        os.environ[ANSWER] = f"{os.getpid()}:{made}"
        return made
    parent, _, made = os.environ.get(ANSWER, "").partition(":")
    require(
        parent == str(os.getppid()),
        f"LOCAL_RANK is {os.environ['LOCAL_RANK']}, but neither rank 0 of this run nor a known launcher started this "
        f"process; start one process, with LOCAL_RANK unset, and type --trainer.devices for the number of ranks, or "
        f"start all of them with torchrun",
    )
    return made


def on_every_rank(condition: bool) -> bool:
    """Whether a condition holds on every rank that a launcher started; returns when all of them have asked.

    Raises:
        InputError: rank 0 ended before that.
    """
    if (launched := launcher()) is None:
        return condition
    with _meeting() as (store, key):
        store.add(f"{key}/held", int(condition))
        if store.add(f"{key}/asked", 1) == launched[1].world_size():
            store.set(f"{key}/done", "")
        store.wait([f"{key}/done"])
        return store.add(f"{key}/held", 0) == launched[1].world_size()


@contextmanager
def _meeting() -> Iterator[tuple[Store, str]]:
    """Where the ranks of a launcher meet, and a name that every rank's same call gets, and no other."""
    try:
        yield _store(), f"semisup/{next(_number)}"
    except DistError as error:
        raise InputError(f"rank 0 was not to be reached, or ended; its own error says why ({error})") from error


@cache  # kept open: where rank 0 serves it, the process group meets in the same one
def _store() -> Store:
    launched = launcher()
    assert launched is not None
    environment = launched[1]
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = environment.main_address, str(environment.main_port)
    store, _, _ = next(rendezvous("env://", environment.global_rank(), environment.world_size()))
    return PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)


class RankLost(InputError):
    """Another rank has ended, and this one can't go on without it."""


# What gloo, NCCL and the store where ranks meet say of a rank that doesn't answer any more.
_WHO = re.compile(r"gloo|nccl|tcpstore|process ?group|c10d", re.I)
_LOST = re.compile(r"connection (was )?(closed|reset|refused)|broken pipe|remote process|aborted|time(d )?out", re.I)


@contextmanager
def losing_ranks(run_dir: Path) -> Iterator[None]:
    """Makes one line of what a rank's communication raises meanwhile when another rank has ended.

    Args:
        run_dir: that can go on from its last checkpoint, where it has one.

    Raises:
        RankLost: in place of that error.
    """
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, DistError) or _WHO.search(str(error))) or not _LOST.search(str(error)):
            raise
        advice = f"; go on with --resume {shell(nearby(run_dir))}" if any(run_dir.glob("checkpoints/*.ckpt")) else ""
        rank = getattr(rank_zero_only, "rank", 0)
        raise RankLost(
            f"rank {rank} ends because another rank of this run did, whose own message says why{advice}"
        ) from error


def end_with_rank_zero() -> None:
    """Ends a rank that rank 0 started, at the latest some ten seconds after rank 0 is gone, whatever it waits for.

    On CPUs a lost rank breaks the others' connections at once; on GPUs they would wait for it until the process group's
    timeout. (Lightning does the same for rank 0 when a rank that it started is gone, and launchers for all of theirs.)
    """
    if launcher() or os.environ.get("LOCAL_RANK", "0") == "0":
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        time.sleep(_GRACE)
        print("semisup: error: rank 0 is gone, and this rank ends as well", file=sys.stderr, flush=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
