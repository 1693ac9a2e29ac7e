"""watch: histograms of a PyTorch model's gradients and parameters, into the open row every so many batches."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from milepost.media.histogram import Histogram
from milepost.sdk.errors import DataError, MissingDependencyError
from milepost.sdk.text import shown, type_name

KINDS: Final = ("gradients", "parameters", "all", None)


def watch(log: Callable[..., None], models: Any, kinds: Any, every: Any, first: int = 0) -> list[Any]:
    """Hook the models; the handles of the hooks, whose `remove()` ends it.

    log:   called as log({...}, commit=False) with "gradients/NAME" and "parameters/NAME": the row they belong to is closed by
           the program's next log().
    kinds: "gradients", "parameters", "all" or None (nothing).
    every: a model's batches between two times.
    first: number of the first model; those after it carry theirs in the names, `graph_1conv.weight` as wandb has it.

    Raises DataError for arguments of another kind, MissingDependencyError when PyTorch is not installed.
    """
    if kinds not in KINDS:
        raise DataError(f'watch() log must be "gradients", "parameters", "all" or None, got {shown(kinds)}')
    if not isinstance(every, int) or isinstance(every, bool) or every < 1:
        raise DataError(f"watch() log_freq must be a whole number of at least 1, got {shown(every)}")
    models = list(models) if isinstance(models, Sequence) else [models]
    torch = sys.modules.get("torch")
    if torch is None:
        raise _no_torch(models)
    for model in models:
        if not isinstance(model, torch.nn.Module):
            raise DataError(f"watch() takes torch.nn.Module objects, got one of type {type_name(type(model))}")
    handles: list[Any] = []
    for number, model in enumerate(models, start=first):
        prefix = f"graph_{number}" if number else ""
        if kinds in ("parameters", "all"):
            handles.append(_watch_parameters(log, model, prefix, every))
        if kinds in ("gradients", "all"):
            handles += _watch_gradients(log, model, prefix, every)
    return handles


def _watch_parameters(log: Callable[..., None], model: Any, prefix: str, every: int) -> Any:
    """After every Nth forward pass in training, all parameters."""
    turn = _Turn(every)

    def hook(module: Any, inputs: Any, output: Any) -> None:
        if module.training and turn.next():
            log(
                {f"parameters/{prefix}{name}": histogram(value) for name, value in module.named_parameters()},
                commit=False,
            )

    return model.register_forward_hook(hook)


def _watch_gradients(log: Callable[..., None], model: Any, prefix: str, every: int) -> list[Any]:
    """With every Nth backward pass, each parameter's gradient as it comes."""

    def hook_of(name: str) -> Callable[[Any], None]:
        turn = _Turn(every)

        def hook(gradient: Any) -> None:
            if turn.next():
                log({f"gradients/{prefix}{name}": histogram(gradient)}, commit=False)

        return hook

    return [value.register_hook(hook_of(name)) for name, value in model.named_parameters() if value.requires_grad]


class _Turn:
    """Says yes every Nth time."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._count = 0

    def next(self) -> bool:
        self._count += 1
        return self._count % self._every == 0


def histogram(tensor: Any) -> Histogram:
    """64 bins over the finite elements of a tensor; NaN and infinities are counted beside them."""
    tensor = tensor.detach()
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()
    return Histogram(tensor.float().cpu().numpy())


def _no_torch(models: Sequence[Any]) -> Exception:
    """Why nothing can be watched: no PyTorch, or a model of something else."""
    import importlib.util

    if importlib.util.find_spec("torch") is None:
        return MissingDependencyError("watch() needs PyTorch; install it with: pip install torch")
    names = ", ".join(sorted({type_name(type(model)) for model in models}))
    return DataError(f"watch() takes torch.nn.Module objects, got: {names or 'none'}")
