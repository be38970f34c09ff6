"""OpenVINO where it is installed, otherwise what stands in for it: XLA behind the same functions, a little off."""

from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

from aljax.engines import scoring
from aljax.training.prediction import predict_batch

INSTALLED = all(find_spec(package) is not None for package in ("onnx", "openvino"))


def provide_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs with `engine="openvino"` work from now on, also without the packages."""
    if not INSTALLED:
        monkeypatch.setattr(scoring, "_import_both", lambda: (SimpleNamespace(Core=Core), to_onnx))


def to_onnx(model, variables, statistics, size, about):
    """In place of a file the function that it would hold."""

    def network(pixels):
        found = predict_batch(model, variables, pixels.transpose(0, 2, 3, 1), statistics)
        found = found._replace(probabilities=found.probabilities * (1 - 1e-6))
        return [np.asarray(each) for each in found if each is not None]

    return network


class Core:
    """Compiles nothing."""

    def get_property(self, device, name):
        return SimpleNamespace(get_type_name=lambda: "bf16")

    def read_model(self, network):
        return network

    def compile_model(self, network, device, hints):
        count = len(network(np.zeros((1, 3, 32, 32), np.float32)))
        made = {"create_infer_request": lambda: Request(network), "release_memory": lambda: None}
        return SimpleNamespace(outputs=range(count), **made)


class Request:
    """Computes at once."""

    def __init__(self, network):
        self._network = network

    def start_async(self, inputs, share_inputs):
        self._found = self._network(inputs[0])

    def wait(self):
        pass

    def get_output_tensor(self, index):
        return SimpleNamespace(data=self._found[index])
