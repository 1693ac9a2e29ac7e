"""Tensors and `watch()` with the real PyTorch. It is large, so the tests run where it is installed: pip install torch"""

import math
from typing import Any

import numpy as np
import pytest

import milepost
from milepost.exporters.memory import MemoryExporter
from tests.sdk.runs import recorded

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")


def logged(value: Any) -> Any:
    with recorded() as run:
        run.log({"v": value})
        return run.values()[0]["v"]


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "int64", "int32", "uint8", "bool"]
)
def test_tensors_of_every_dtype_become_plain_values(dtype: str) -> None:
    numbers = torch.tensor([[1, 0], [1, 1]]).to(getattr(torch, dtype))
    kind = bool if dtype == "bool" else float if "float" in dtype else int

    assert logged(numbers) == [[1, 0], [1, 1]]
    assert logged(numbers[0, 0]) == 1
    assert type(logged(numbers[0, 0])) is kind
    assert logged(numbers[:1, :1]) == 1


def test_a_tensor_with_a_gradient_a_parameter_and_views_of_it_can_be_logged() -> None:
    parameter = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    loss = (parameter * 2).sum()

    assert logged(loss) == 6.0
    assert logged(parameter) == [1.0, 2.0]
    assert logged(parameter.t()) == [1.0, 2.0]
    assert logged(torch.tensor([1 + 2j]).conj()) == "1-2j"
    assert logged(torch.tensor([[0.0, 2.0]]).to_sparse()) == [[0.0, 2.0]]
    assert math.isnan(logged(torch.tensor(math.nan)))
    assert logged(torch.tensor([])) == []
    assert logged(torch.zeros(3, 4, 5))["_type"] == "histogram"
    assert logged(torch.arange(50, dtype=torch.bfloat16))["_type"] == "histogram"


def test_a_tensor_is_stored_as_it_was_at_the_call() -> None:
    tensor = torch.zeros(4)
    with recorded() as run:
        for number in range(50):
            tensor.fill_(number)
            run.log({"v": tensor, "scalar": tensor[0]}, commit=number % 2 == 0)
            tensor.fill_(-1)

        assert [row["v"][0] for row in run.values()] == [*range(0, 50, 2), 49]


def test_devices_dtypes_and_sizes_are_text_and_lists() -> None:
    assert logged(torch.float32) == "torch.float32"
    assert logged(torch.device("cpu")) == "cpu"
    assert logged(torch.zeros(2, 3).shape) == [2, 3]


def test_a_tensor_is_a_step() -> None:
    with recorded() as run:
        run.log({"a": 1}, step=torch.tensor(5), commit=True)

        assert run.rows() == [{"_step": 5, "a": 1}]


class Device:
    """What torch has for a kind of device, with the events in the test's hands: PyTorch for processors has no other device."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done = False
        self.recorded = 0
        device, empty = self, torch.empty

        class Event:
            def record(self, stream: Any) -> None:
                device.recorded += 1

            def query(self) -> bool:
                return device.done

        self.Event = Event
        monkeypatch.setattr(torch, "get_device_module", lambda kind: self)
        monkeypatch.setattr(torch, "empty", lambda *shape, pin_memory=False, **options: empty(*shape, **options))  # noqa: PLW0108 - drops pin_memory

    def current_stream(self, kind: Any) -> Any:
        return None


class OnDevice(torch.Tensor):  # type: ignore[misc]
    """A tensor that says it is on an accelerator until it is copied from there."""

    @property
    def device(self) -> Any:
        return torch.device("cuda", 0)

    def detach(self) -> Any:
        return super().detach().as_subclass(torch.Tensor)

    def numpy(self, **options: Any) -> Any:
        raise AssertionError("it was read off its device")


def on_device(value: Any) -> Any:
    return value.as_subclass(OnDevice)


def test_deferred_tensors_are_copied_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch)
    memory = MemoryExporter()
    settings = {"capture": False, "device_values": "defer", "media": {"encode_in": "thread"}}
    picture = torch.arange(60, dtype=torch.uint8).reshape(3, 4, 5)
    loss = torch.tensor(2.5, requires_grad=True)
    buffer = torch.tensor([1.0, 2.0])
    with milepost.init(project="p", exporters=[memory, "file"], settings=settings) as run:
        run.log(
            {
                "loss": on_device(loss),
                "buffer": on_device(buffer),
                "bf16": on_device(torch.tensor([1.5], dtype=torch.bfloat16)),
                "view": on_device(torch.arange(6).reshape(2, 3)).t(),
                "image": milepost.Image(on_device(picture)),
                "histogram": milepost.Histogram(on_device(torch.arange(8.0, requires_grad=True)), num_bins=2),
                "audio": milepost.Audio(on_device(torch.zeros(2, 100)), sample_rate=8000),
                "video": milepost.Video(on_device(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))),
            }
        )
        buffer.fill_(-1)
        assert device.recorded == 8
        assert not memory.events or all(event.kind != "row" for event in memory.events)
        device.done = True

    (row,) = milepost.Api().run(run.path).scan_history()
    assert (row["loss"], row["buffer"], row["bf16"], row["view"]) == (2.5, [1.0, 2.0], 1.5, [[0, 3], [1, 4], [2, 5]])
    assert (row["image"].to_numpy() == picture.permute(1, 2, 0).numpy()).all()
    assert row["histogram"]["values"] == [4, 4]
    assert row["audio"].to_numpy().shape == (100, 2)
    assert row["video"].to_numpy().shape[0] == 2


@pytest.mark.parametrize("device_values", ["read", "defer"])
def test_a_tensor_without_data_is_refused(device_values: str) -> None:
    meta = torch.zeros(3, device="meta")
    settings = {"capture": False, "device_values": device_values}
    with milepost.init(project="p", exporters=[MemoryExporter()], settings=settings) as run:
        with pytest.raises(milepost.DataError, match="meta"):
            run.log({"a": meta})
        for kind in (milepost.Image, milepost.Histogram):
            with pytest.raises(milepost.DataError, match="meta"):
                kind(meta.reshape(1, 3))


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "int64", "bool"])
def test_a_histogram_takes_tensors_of_any_dtype_with_gradients_or_without(kind: str) -> None:
    tensor = torch.arange(4).to(getattr(torch, kind))
    assert sum(milepost.Histogram(tensor).counts) == 4
    assert sum(milepost.Histogram(torch.ones(3, requires_grad=True)).counts) == 3


def model() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))


def train(net: Any, batches: int, log: Any) -> None:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for batch in range(batches):
        optimizer.zero_grad()
        loss = net(torch.ones(2, 3)).sum()
        loss.backward()
        optimizer.step()
        log({"loss": loss, "batch": batch})


GRADIENTS = {f"gradients/{number}.{part}" for number in (0, 2) for part in ("weight", "bias")}
PARAMETERS = {f"parameters/{number}.{part}" for number in (0, 2) for part in ("weight", "bias")}


@pytest.mark.parametrize(
    ("kinds", "names"),
    [("gradients", GRADIENTS), ("parameters", PARAMETERS), ("all", GRADIENTS | PARAMETERS), (None, set())],
)
def test_watch_puts_histograms_into_the_row_of_every_nth_batch(kinds: Any, names: set[str]) -> None:
    net = model()
    with recorded() as run:
        milepost.watch(net, log=kinds, log_freq=3)
        train(net, 7, run.log)

        rows = run.values()
        assert len(rows) == 7
        watched = [set(row) - {"loss", "batch"} for row in rows]
        assert watched == [set(), set(), names, set(), set(), names, set()]
        for row in rows:
            assert all(row[name]["_type"] == "histogram" for name in set(row) - {"loss", "batch"})


def test_watch_counts_elements_and_those_that_are_not_finite() -> None:
    net = torch.nn.Linear(3, 1, bias=False).to(torch.bfloat16)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, math.nan, math.inf]]))
    with recorded() as run:
        milepost.watch(net, log="parameters", log_freq=1)
        net(torch.ones(1, 3, dtype=torch.bfloat16))

        (row,) = run.values()
        weight = row["parameters/weight"]
        assert (sum(weight["values"]), weight["nonfinite"]) == (1, 2)


def test_several_models_are_numbered_as_in_wandb() -> None:
    first, second = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    with recorded() as run:
        milepost.watch([first, second], log="gradients", log_freq=1)
        (first(torch.ones(1)) + second(torch.ones(1))).backward()

        assert set(run.values()[0]) == {"gradients/weight", "gradients/graph_1weight"}


def test_a_model_trains_on_after_the_run_is_finished() -> None:
    net = model()
    with recorded() as run:
        run.run.watch(net, log="all", log_freq=1)
        train(net, 1, run.log)

    train(net, 2, lambda data: None)
    assert np.isfinite(net[0].weight.detach().numpy()).all()
