"""Networks outside XLA: a fitted one as a file in ONNX, the format that other tools and engines read."""
