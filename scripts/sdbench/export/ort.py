"""ONNX Runtime as every part of this project wants it: nothing is sent, nothing kept of its use."""

import os

# Read when it is imported: without it, it opens a database in the user's cache and an uploader.
# Source: Privacy.md of the package.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

__all__ = ["onnxruntime"]
