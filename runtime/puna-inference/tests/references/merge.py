"""One graph of two branches, with a cache and without, as optimum exported decoders until its version 1.14.

    python merge.py SOURCE OUT

Run in the environment of requirements-optimum.txt.
"""

import sys

from optimum.exporters.onnx import onnx_export_from_model
from optimum.exporters.onnx.model_configs import LlamaOnnxConfig
from optimum.onnx import merge_decoders
from transformers import AutoModelForCausalLM

source, out = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(source)
for place, with_past in (("without", False), ("with", True)):
    config = LlamaOnnxConfig(model.config, task="text-generation", use_past=True, use_past_in_inputs=with_past)
    onnx_export_from_model(model, f"{out}/{place}", task="text-generation-with-past", custom_onnx_configs={"model": config}, do_validation=False)
merge_decoders(f"{out}/without/model.onnx", f"{out}/with/model.onnx", save_path=f"{out}/merged.onnx", strict=False)
