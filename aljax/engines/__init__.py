"""Networks outside XLA: fitted ones as files in ONNX, which other tools and engines read, and predictions by one."""
