"""Models out: graphs, ONNX, fused and 8-bit networks."""
