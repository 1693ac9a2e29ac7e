"""Arrays: scalars, arrays and tensors of NumPy, PyTorch, JAX, TensorFlow and CuPy as plain values.

A framework is found where it is loaded already, and never imported for a value. This module is loaded with the first of them.
"""

import math
import sys
from typing import Any, Final

from milepost.sdk.nesting import Unloggable
from milepost.sdk.values import leaf, sequence, whole

LIST_LIMIT: Final = 32
"""An array of more elements is kept as a histogram."""


def numpy_value(value: Any, depth: int) -> Any:
    """numpy scalars and arrays; 0-d and one-element arrays are scalars."""
    np = sys.modules["numpy"]
    if isinstance(value, np.ma.MaskedArray):
        value = value.astype(float).filled(math.nan) if value.dtype.kind in "fiub" else value.filled()
    if isinstance(value, np.ndarray):
        if value.size == 1:
            return _numpy_scalar(value.reshape(())[()], depth)
        return _array(value, depth)
    if isinstance(value, np.generic):
        return _numpy_scalar(value, depth)
    if isinstance(value, type) or callable(value):
        return f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else str(value)
    if isinstance(value, np.dtype):
        return str(value)
    raise Unloggable("this numpy type has no form in a row")


def _numpy_scalar(value: Any, depth: int) -> Any:
    dtype = getattr(value, "dtype", None)
    kind = getattr(dtype, "kind", "")
    if kind == "f":
        return float(value)
    if kind in "iu":
        return whole(int(value), depth)
    if kind == "b":
        return bool(value)
    if kind == "M":
        return str(value)
    if kind == "V":
        if getattr(dtype, "names", None):
            raise Unloggable("a structured numpy value; log its fields one by one")
        return float(value)  # bfloat16 and its kin (ml_dtypes)
    item = value.item() if hasattr(value, "item") else value
    if type(item).__module__ == "numpy":
        raise Unloggable("this numpy type has no form in a row")
    return leaf(item, depth + 1)


def _array(value: Any, depth: int) -> Any:
    if value.size == 0:
        return []
    kind = value.dtype.kind
    if kind == "O" and depth:  # it could hold itself
        raise Unloggable("an array of objects inside a list; convert it with tolist()")
    if kind == "V" and not value.dtype.names:
        value, kind = value.astype("float32"), "f"
    if value.size > LIST_LIMIT and kind in "fiub":
        from milepost.media.histogram import Histogram

        return Histogram(value, num_bins=LIST_LIMIT).as_value()
    if kind == "M":
        return sequence(value.astype(str).tolist(), depth)
    return sequence(value.tolist(), depth)


def torch_value(value: Any, kind: type, depth: int) -> Any:
    """Tensors and parameters, read off their device now; other torch objects by name."""
    torch = sys.modules["torch"]
    if isinstance(value, torch.Tensor):
        value = value.detach()
        if value.is_sparse or value.is_quantized:
            value = value.to_dense() if value.is_sparse else value.dequantize()
        value = value.cpu()
        if value.dtype in (torch.bfloat16, *(getattr(torch, name) for name in dir(torch) if name.startswith("float8"))):
            value = value.float()
        if value.dtype in (torch.float64, torch.float32, torch.float16) and value.numel() == 1:
            return float(value)
        return numpy_value(value.resolve_conj().resolve_neg().numpy(), depth)
    if kind.__name__ == "Size":
        return list(value)
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return f"{value.__module__}.{value.__qualname__}"
    if kind.__name__ in ("dtype", "device"):
        return str(value)
    raise Unloggable("this torch type has no form in a row")


def array_like(value: Any, module: str, depth: int) -> Any:
    """JAX, TensorFlow, CuPy and whatever else offers `__array__`."""
    import numpy as np

    if module == "tensorflow" and hasattr(value, "numpy"):
        value = value.numpy()
    elif module == "cupy" and hasattr(value, "get"):
        value = value.get()
    array = np.asarray(value)
    if array.dtype.kind == "V" and not array.dtype.names:
        array = array.astype(np.float32)
    if array.dtype.kind == "O" and array.shape == ():
        raise Unloggable("this type has no form in a row")
    return numpy_value(array, depth)


def statistics(value: Any) -> dict[str, Any] | None:
    """What the summary holds of an array of more than 32 numbers that was set by hand; None for any other value."""
    if getattr(value, "size", 0) <= LIST_LIMIT or value.dtype.kind not in "fiub":
        return None
    import numpy as np

    low, quarter, three_quarters, high = (float(part) for part in np.percentile(value, [10, 25, 75, 90]))
    return {
        "_type": "numpy.ndarray",
        "var": float(value.var()),
        "mean": float(value.mean()),
        "min": value.min().item(),
        "max": value.max().item(),
        "10%": low,
        "25%": quarter,
        "75%": three_quarters,
        "90%": high,
        "size": int(value.size),
    }
