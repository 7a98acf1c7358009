"""Several processes that train one model: what each of them draws, and what they agree on.

Every process draws rows of its own, and `DistributedDataParallel` averages the gradients. The
batch of a step depends on a base, the step and the rank alone, so that it can be drawn again, by
anybody and in any order. The base is drawn once from the generator of the run.
"""

import functools
import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Generator, Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


class Ranks:
    """The processes that train a model together, or this one alone if it is not distributed.

    Parameters
    ----------
    model : nn.Module, optional
        Distributed if it is inside `DistributedDataParallel`; without one, this process is alone.

    Raises
    ------
    ValueError
        If a group of processes runs and the model is not distributed over it.
    """

    def __init__(self, model: nn.Module | None = None) -> None:
        wrapper = None if model is None else parallel(model)
        self.rank, self.size = 0, 1
        self.group: Any = None
        self.control: Any = None
        if wrapper is not None:
            self.group = wrapper.process_group
            self.rank = distributed.get_rank(self.group)
            self.size = distributed.get_world_size(self.group)
            self.control = _on_the_cpu(self.group)
        elif model is not None and distributed.is_available() and distributed.is_initialized():
            size = distributed.get_world_size()
            if size > 1:
                raise ValueError(
                    f"{size} processes run, and each would train a model of its own and write to "
                    "the same files; wrap the model in DistributedDataParallel(model)"
                )

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    @property
    def distributed(self) -> bool:
        """Whether the model is inside `DistributedDataParallel`, if only with one process."""
        return self.group is not None

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the processes, the same on all of them, on the device of the values."""
        if self.size == 1:
            return values
        total = values.clone()
        distributed.all_reduce(total, group=self.group)
        return total / self.size

    def any(self, flag: bool) -> bool:
        """Whether it is so on any of the processes; no device is waited for."""
        if self.size == 1:
            return flag
        flags = torch.tensor([float(flag)])
        distributed.all_reduce(flags, group=self.control)
        return bool(flags.item())

    def from_first(self, produce: Callable[[], T]) -> T:
        """Return what the first process produces, or raise everywhere what it raises."""
        if self.size == 1:
            return produce()
        box: list[Any] = [None, None]
        if self.first:
            try:
                box[0] = produce()
            except Exception as error:
                box[1] = error
        source = distributed.get_global_rank(self.control, 0)
        distributed.broadcast_object_list(box, src=source, group=self.control)
        if box[1] is not None:
            raise box[1]
        value: T = box[0]
        return value

    def agree(self, settings: dict[str, Any]) -> None:
        """Refuse settings that differ between the processes; they would wait for one another."""
        if self.size == 1:
            return
        theirs: list[Any] = [None] * self.size
        distributed.all_gather_object(theirs, settings, group=self.control)
        for rank, other in enumerate(theirs):
            different = [name for name in other if other[name] != theirs[0][name]]
            if different:
                name = different[0]
                raise ValueError(
                    f"{name} must be the same in all processes, got {theirs[0][name]!r} in the "
                    f"first and {other[name]!r} in that of rank {rank}"
                )

    def copy_first(self, module: nn.Module | None) -> None:
        """Give a module of all processes the parameters and buffers that it has in the first."""
        if self.size > 1 and module is not None:
            source = distributed.get_global_rank(self.group, 0)
            for value in module.state_dict().values():
                distributed.broadcast(value, src=source, group=self.group)


def bare(model: nn.Module) -> nn.Module:
    """Return the model inside `DistributedDataParallel` and `torch.compile`, or itself."""
    while inner := _inside(model):
        model = inner
    return model


def parallel(model: nn.Module) -> DistributedDataParallel | None:
    """Return the wrapper that distributes a model, if there is one."""
    layer: nn.Module | None = model
    while layer is not None and not isinstance(layer, DistributedDataParallel):
        layer = _inside(layer)
    return layer


def draw_base(generator: Generator) -> int:
    """Draw the number that, with step and rank, determines every batch of a run."""
    device = generator.device
    return int(torch.randint(2**62, (1,), generator=generator, device=device))


def seed(base: int, step: int, rank: int) -> int:
    """Return the seed of what one process draws for one step; `step` counts from 0.

    Of its 63 bits torch's generator on a CPU uses 32: among a million batches some hundred are
    drawn twice.
    """
    digest = hashlib.blake2b(f"{base}, {step}, {rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _inside(model: nn.Module) -> nn.Module | None:
    """Return what a wrapper wraps."""
    if isinstance(model, DistributedDataParallel):
        inner: nn.Module = model.module
        return inner
    return getattr(model, "_orig_mod", None)


@functools.cache
def _on_the_cpu(group: Any) -> Any:
    """Return a group of the same processes whose messages do not wait for a GPU."""
    if distributed.get_backend(group) == "gloo":
        return group
    members = distributed.get_process_group_ranks(group)
    return distributed.new_group(members, backend="gloo", use_local_synchronization=True)
