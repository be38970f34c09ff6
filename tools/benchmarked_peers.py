"""The works of tools.benchmark by inference engines, on the file of `aljax export`, and by faiss; all on the CPU."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from aljax.data.augmentation import BandStatistics
from aljax.engines.scoring import import_openvino
from aljax.system.machine import usable_cores
from tools.benchmarked import DEVIATION, MEAN, NOTHING, embeddings, fresh_model, pixels
from tools.duel import Work

LLOYD_STEPS = 25  # faiss's default; it has no other rule for when to stop


def exported(size: int, bands: int) -> bytes:
    """DenseNet121 with random weights as ONNX."""
    from aljax.engines.onnx_file import to_onnx

    model, variables = fresh_model(size, bands, "float32")
    statistics = BandStatistics(np.full(bands, MEAN, np.float32), np.full(bands, DEVIATION, np.float32))
    return to_onnx(model, variables, statistics, size, {})


def pass_over(images: np.ndarray, batch: int, infer: Callable[[np.ndarray], Any]) -> Work:
    """A pass over tiles as files store them, which are given with bands first, in float32."""

    def work() -> Mapping[str, float]:
        for start in range(0, len(images), batch):
            infer(np.ascontiguousarray(images[start : start + batch].transpose(0, 3, 1, 2), np.float32))
        return NOTHING

    return work


def score_in_openvino(count: int, batch: int, size: int, bands: int, precision: str) -> Work:
    """The pass over a pool by OpenVINO: probabilities and embeddings of every tile."""
    openvino = import_openvino()
    hints = {"INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision]}
    hints["INFERENCE_NUM_THREADS"] = str(usable_cores())
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(exported(size, bands)), "CPU", hints)
    return pass_over(pixels(count, size, bands), batch, compiled)


def score_in_onnxruntime(count: int, batch: int, size: int, bands: int) -> Work:
    """The same by ONNX Runtime, whose CPUs know float32 alone."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    session = onnxruntime.InferenceSession(exported(size, bands), options, providers=["CPUExecutionProvider"])
    return pass_over(pixels(count, size, bands), batch, lambda images: session.run(None, {"images": images}))


def kmeans_in_faiss(count: int, clusters: int) -> Work:
    """k-means by faiss, from random points, with the assignment of every point at the end."""
    import faiss

    points, seeds = embeddings(count), itertools.count()

    def work() -> Mapping[str, float]:
        found = faiss.Kmeans(
            points.shape[1],
            clusters,
            niter=LLOYD_STEPS,
            seed=next(seeds),
            min_points_per_centroid=1,
            max_points_per_centroid=count,
        )
        found.train(points)
        squares, _ = found.assign(points)
        return {"inertia": float(squares.sum())}

    return work
