"""Networks as graphs: ONNX, OpenVINO, 8-bit weights, and how far each is from PyTorch."""
