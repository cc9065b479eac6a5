"""The plain way, written without the engine: one forward pass per head under an ordinary module hook."""

from __future__ import annotations

import hashlib

import torch


def weights_sha256(model) -> str:
    """Hash of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def hook_count(model) -> int:
    """Forward hooks and pre-hooks on all modules."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def bert_ablated(model, inputs, layer: int, head: int):
    """Last hidden state of a BERT with one head's output set to zero before the output projection."""
    dim = model.config.hidden_size // model.config.num_attention_heads

    def zero(module, args):
        x = args[0].clone()
        x[..., head * dim : (head + 1) * dim] = 0
        return (x, *args[1:])

    handle = model.encoder.layer[layer].attention.output.dense.register_forward_pre_hook(zero)
    try:
        with torch.no_grad():
            return model(**inputs).last_hidden_state
    finally:
        handle.remove()
