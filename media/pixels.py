"""Pixels: arrays and tensors as 8-bit pixels, by one rule for pictures, masks and videos.

floats in [0, 1]       times 255, rounded down            (booleans and whole numbers that are all 0 or 1 too)
floats in [-1, 1]      (x + 1) * 127.5, rounded down
anything else          cut to 0..255, with a warning when that changes something
NaN, infinities        refused
"""

import logging
import sys
from typing import TYPE_CHECKING, Any, Final

from milepost.sdk.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger("milepost")

MAX_PIXELS: Final = 178_956_970
"""Of one picture: where Pillow refuses files, too (a quarter of a GiB of 24-bit pixels, twice over)."""
_said: set[str] = set()


def is_tensor(value: Any) -> bool:
    """Whether a value is a PyTorch tensor."""
    kind: Any = getattr(sys.modules.get("torch"), "Tensor", None)  # None, too, while another thread is importing it
    return kind is not None and isinstance(value, kind)


def as_array(value: Any, owner: str) -> "NDArray[Any]":
    """An array, tensor or nested list of numbers as a numpy array, read off its device. Raises DataError."""
    import numpy as np

    module = (type(value).__module__ or "").partition(".")[0]
    array: NDArray[Any]
    try:
        if is_tensor(value):
            torch = sys.modules["torch"]
            value = value.detach().cpu()
            value = value.resolve_conj().resolve_neg()
            array = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        elif module == "tensorflow" and hasattr(value, "numpy"):
            array = value.numpy()
        elif module == "cupy" and hasattr(value, "get"):
            array = value.get()
        else:
            masked: Any = getattr(sys.modules.get("numpy.ma"), "MaskedArray", None)  # importing it takes 40 ms
            array = np.asarray(value.filled(0) if masked is not None and isinstance(value, masked) else value)
        if array.dtype.kind == "V" and not array.dtype.names:  # bfloat16 and its kin (ml_dtypes)
            array = array.astype(np.float32)
    except Exception as error:  # noqa: BLE001 - a value's own methods may raise anything
        raise DataError(f"{owner}: reading a {type(value).__name__} as an array failed: {error}") from None
    if array.dtype.kind not in "fiub":
        if array.shape == () and not isinstance(value, np.ndarray):
            raise DataError(
                f"{owner}: an array of numbers, or what else help(milepost.{owner}) names, is needed; got {type(value).__name__}"
            )
        raise DataError(
            f"{owner}: an array of numbers is needed, got {told_array(array)} (from {type(value).__name__})"
        )
    return array


def told_array(array: Any) -> str:
    """Shape and dtype, for a message. NumPy takes 5 us for the name of a dtype, so only where there is something to say."""
    return f"shape {tuple(array.shape)}, dtype {array.dtype}"


def to_uint8(array: "NDArray[Any]", owner: str, normalize: bool = True, *, copy: bool = True) -> "NDArray[np.uint8]":
    """The array as 8-bit pixels, a copy that is contiguous. Raises DataError for NaN, infinities and an empty array.

    copy=False gives the array itself where it is all that already, for whoever copies it at once.
    """
    import numpy as np

    if array.size == 0:
        raise DataError(f"{owner}: the array is empty: {told_array(array)}")
    kind = array.dtype.kind
    if kind == "b" or (normalize and array.dtype == np.uint8 and _is_binary(array)):
        scaled: NDArray[np.uint8] = np.multiply(array, 255, dtype=np.uint8, order="C")
        return scaled
    if array.dtype == np.uint8:
        return np.array(array, order="C") if copy else np.ascontiguousarray(array)
    about = told_array(array)
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    low, high = array.min(), array.max()
    if kind == "f" and not (np.isfinite(low) and np.isfinite(high)):
        bad = int(array.size - np.count_nonzero(np.isfinite(array)))
        raise DataError(
            f"{owner}: {bad} of {array.size} values are NaN or infinite ({about}); replace them, as with numpy.nan_to_num"
        )
    if normalize and low >= 0 and high <= 1:
        if kind != "f":  # 255 is no int8
            array = array.astype(np.uint8)
        return np.ascontiguousarray((array * 255).astype(np.uint8))
    if normalize and low >= -1 and high <= 1:
        return np.ascontiguousarray(((array + 1) * 127.5).astype(np.uint8))
    if normalize and kind == "f" and low >= -2 and high <= 2:
        warn(
            "dark",
            f"{owner}: floats from {low:g} to {high:g} lie in neither [0, 1] nor [-1, 1] and are taken for 0..255, where they "
            f"are black ({about}); clip them first, as with array.clip(0, 1)",
        )
    elif low < 0 or high > 255:
        warn(
            "clipped",
            f"{owner}: values from {low:g} to {high:g} were cut to 0..255 ({about}); scale them to [0, 1], [-1, 1] or 0..255",
        )
    if low < 0 or high > 255:
        array = array.clip(0, 255)
    return np.ascontiguousarray(array.astype(np.uint8))


def _is_binary(array: "NDArray[Any]") -> bool:
    """Whether whole numbers are all 0 or 1. Most pictures say no by three of theirs, or by a row; all of 12 MB take 1 ms."""
    if any(array.item(array.size * part // 4) > 1 for part in (1, 2, 3)):
        return False
    middle = array[len(array) // 2]
    return bool(middle.max() <= 1 and array.max() <= 1)


def warn(pattern: str, text: str) -> None:
    """Say something once per kind of trouble."""
    if pattern not in _said:
        _said.add(pattern)
        logger.warning("milepost: %s. Further cases are not mentioned", text)
