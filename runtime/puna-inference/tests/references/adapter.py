"""Writes `two.onnx_adapter`, two tensors as ONNX Runtime's own `AdapterFormat` writes them. Needs onnxruntime."""

import os

import numpy as np
import onnxruntime

HERE = os.path.dirname(os.path.abspath(__file__))
TENSORS = {"a": [[1], [2]], "b": [[3, 4]]}

adapter = onnxruntime.AdapterFormat()
adapter.set_adapter_version(1)
adapter.set_model_version(1)
adapter.set_parameters({name: onnxruntime.OrtValue.ortvalue_from_numpy(np.array(values, np.float32)) for name, values in TENSORS.items()})
adapter.export_adapter(os.path.join(HERE, "two.onnx_adapter"))
