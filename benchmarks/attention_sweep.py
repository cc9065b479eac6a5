"""All heads of a model ablated one by one: our one-pass sweep against a forward per head, in one process.

    python benchmarks/attention_sweep.py            GPT-2 shape, 6 layers x 12 heads x 384, random weights
    python benchmarks/attention_sweep.py --real     the shipped MiniLM, embeddings
    python benchmarks/attention_sweep.py --flops    operations counted, no clock

Peers: a plain hook loop always; TransformerLens and nnsight when they are importable (pip install
transformer-lens==4.3.0 nnsight==0.8.1). Both sides compute the same logits: all positions against all,
last position against last. CPU time, one thread, interleaved rounds, median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from typing import TYPE_CHECKING, Any

import torch

from agentkit_attention.edits import Condition
from agentkit_attention.sites import SiteTable, find_sites
from agentkit_attention.sweep import HeadSweep

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    Sweep = Callable[[], Tensor]

LAYERS, HEADS, WIDTH, VOCABULARY = 6, 12, 384, 30522
LARGEST_DIFFERENCE = 1e-6
BARS = {
    ("B 1, S 16", "last logit"): 4.0,
    ("B 1, S 16", "all logits"): 2.5,
    ("B 8, S 32", "last logit"): 1.3,
    ("B 8, S 32", "all logits"): 1.0,
    ("MiniLM, B 16, S 11", "embeddings"): 1.4,
}


def gpt2_shape() -> nn.Module:
    """A random GPT-2 of MiniLM's size."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH, "vocab_size": VOCABULARY}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(**sizes, **ends)).eval()


def ours(
    model: nn.Module, table: SiteTable, inputs: dict[str, Any], collect: Callable[..., Tensor]
) -> Tensor:
    """[1 + heads, batch, …] by one shared pass."""
    conditions = [Condition(h.name, (h,), "ablate", 1.0) for h in table.heads]
    n_items = inputs["input_ids"].shape[0]
    return HeadSweep(model, table, memory_mb=16384).run(inputs, n_items, conditions, collect, engine="spawn")


def hook_loop(
    model: nn.Module,
    projections: list[nn.Module],
    inputs: dict[str, Any],
    collect: Callable[..., Tensor],
) -> Tensor:
    """[1 + heads, batch, …] by one forward per head under a hook on the output projection."""
    dim = WIDTH // HEADS
    items = torch.arange(inputs["input_ids"].shape[0])
    results = [collect(model(**inputs), items)]
    for projection in projections:
        for head in range(HEADS):

            def zero(_: nn.Module, args: tuple[Tensor, ...], head: int = head) -> tuple[Tensor, ...]:
                joined = args[0].clone()
                joined[..., head * dim : (head + 1) * dim] = 0
                return (joined, *args[1:])

            handle = projection.register_forward_pre_hook(zero)
            results.append(collect(model(**inputs), items))
            handle.remove()
    return torch.stack(results)


def word_tokenizer() -> Any:
    """A tokenizer that TransformerLens accepts; ours never reads text."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<e>": 0}, unk_token="<e>"))
    marks = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), "<e>")
    with tempfile.TemporaryDirectory() as folder:  # it insists on a tokenizer that came from a folder
        PreTrainedTokenizerFast(tokenizer_object=words, **marks).save_pretrained(folder)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.add_bos_token = True
    return tokenizer


def transformer_lens_loop(model: Any) -> Callable[[dict[str, Any], bool], Tensor]:
    """TransformerLens 4: its bridge around the model, a hook on z."""
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(
        "gpt2", hf_model=model, tokenizer=word_tokenizer(), device="cpu"
    )

    def run(inputs: dict[str, Any], last: bool) -> Tensor:
        tokens = inputs["input_ids"]
        keep = {"logits_to_keep": 1} if last else {}
        results = [bridge(tokens, **keep)]
        for layer in range(LAYERS):
            for head in range(HEADS):

                def zero(z: Tensor, hook: Any, head: int = head) -> Tensor:
                    z = z.clone()
                    z[:, :, head] = 0  # [batch, tokens, heads, dim]
                    return z

                name = f"blocks.{layer}.attn.hook_z"
                results.append(bridge.run_with_hooks(tokens, fwd_hooks=[(name, zero)], **keep))
        return torch.stack(results)

    return run


def nnsight_loop(model: Any) -> Callable[[dict[str, Any], bool], Tensor]:
    """nnsight: one trace per head that overwrites a slice of the projection's input."""
    from nnsight import NNsight

    wrapped, dim = NNsight(model), WIDTH // HEADS

    def run(inputs: dict[str, Any], last: bool) -> Tensor:
        results = [model(**inputs).logits]
        for layer in range(LAYERS):
            for head in range(HEADS):
                with wrapped.trace(**inputs):
                    joined = wrapped.transformer.h[layer].attn.c_proj.input.clone()
                    joined[..., head * dim : (head + 1) * dim] = 0
                    wrapped.transformer.h[layer].attn.c_proj.input = joined
                    logits = wrapped.output.logits.save()
                results.append(logits)
        return torch.stack(results)

    return run


def cpu_seconds(work: Sweep) -> tuple[float, Tensor]:
    """CPU time of one call, and its result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def compare(setting: str, output: str, sides: dict[str, Sweep], rounds: int) -> bool:
    """Interleaved rounds; prints one line per peer and says whether the bar against the loop holds."""
    for work in sides.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    results: dict[str, Tensor] = {}
    for _ in range(rounds):
        for name, work in sides.items():
            spent, results[name] = cpu_seconds(work)
            seconds[name].append(spent)
    size = results["plain loop"].abs().max()
    passed = True
    for name in sides:
        if name == "ours":
            continue
        ratio = statistics.median(p / o for p, o in zip(seconds[name], seconds["ours"], strict=True))
        off = float((results[name] - results["ours"]).abs().max() / size)
        bar = BARS.get((setting, output)) if name == "plain loop" else None
        held = "" if bar is None else ("  bar held" if ratio >= bar else "  BAR MISSED") + f" (>= {bar:g}x)"
        passed &= (bar is None or ratio >= bar) and (name != "plain loop" or off <= LARGEST_DIFFERENCE)
        print(
            f"{setting:19} {output:11} {name:15} {statistics.median(seconds[name]):7.2f} s / ours "
            f"{statistics.median(seconds['ours']):6.2f} s = {ratio:5.2f}x   largest difference {off:.1e}{held}"
        )
    return passed


def random_model(rounds: int, small: bool) -> bool:
    """The GPT-2 shape at two batch sizes, last and all logits, against every importable peer."""
    model = gpt2_shape()
    example = {"input_ids": torch.arange(8)[None], "use_cache": False}
    table = find_sites(model, lambda: model(**example))
    projections = [block.attn.c_proj for block in model.transformer.h]  # type: ignore[union-attr]
    peers = {}
    for name, make in {"TransformerLens": transformer_lens_loop, "nnsight": nnsight_loop}.items():
        try:
            peers[name] = make(gpt2_shape())  # peers change the model that they are given
        except ImportError as error:
            print(f"{name}: not installed ({error.name})")
    passed = True
    for batch, length in ((1, 16), (8, 32))[: 1 if small else 2]:
        generator = torch.Generator().manual_seed(batch)
        tokens = torch.randint(0, VOCABULARY, (batch, length), generator=generator)
        for last in (True, False):
            inputs = {"input_ids": tokens, "use_cache": False} | ({"logits_to_keep": 1} if last else {})

            def logits(output: Any, items: Tensor) -> Tensor:
                return output.logits

            sides: dict[str, Sweep] = {
                "ours": lambda i=inputs: ours(model, table, i, logits),  # type: ignore[misc]
                "plain loop": lambda i=inputs: hook_loop(model, projections, i, logits),  # type: ignore[misc]
            }
            for name, run in peers.items():
                sides[name] = lambda r=run, i=inputs, la=last: r(i, la)  # type: ignore[misc]
            passed &= compare(f"B {batch}, S {length}", "last logit" if last else "all logits", sides, rounds)
    return passed


def real_model(rounds: int) -> bool:
    """MiniLM: 16 sentences of 11 tokens, sentence embeddings."""
    from agentkit_attention.minilm import key_mask, pooled
    from agentkit_attention.targets import minilm

    encoder = minilm.load("", "cpu")
    inputs = encoder.inputs(["a short plain sentence of some seven words"] * 16, length=11)
    table = find_sites(encoder.model, lambda: encoder.model(**inputs))
    keep = key_mask(inputs)

    def embed(output: Any, items: Tensor) -> Tensor:
        return pooled(output.last_hidden_state, keep[items])

    projections = [layer.attention.output.dense for layer in encoder.model.encoder.layer]
    sides: dict[str, Sweep] = {
        "ours": lambda: ours(encoder.model, table, inputs, embed),
        "plain loop": lambda: hook_loop(encoder.model, projections, inputs, embed),
    }
    return compare("MiniLM, B 16, S 11", "embeddings", sides, rounds)


def flops(layers: int, width: int, vocabulary: int, batch: int = 2, length: int = 32) -> dict[str, float]:
    """Multiplications of the plain loop over ours, by output: last logit or all."""
    heads = width // 32 if width == WIDTH else 12
    block = batch * length * (12 * width * width + 2 * length * width)
    ratios = {}
    for output, positions in (("last", 1), ("all", length)):
        head = batch * positions * width * vocabulary
        rows = 1 + layers * heads
        plain = rows * (layers * block + head)
        shared = (layers + heads * layers * (layers + 1) / 2) * block + rows * head
        checked = shared + layers * block + head  # the untouched pass that ours is checked against
        ratios[output] = plain / checked
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--flops", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="batch 1 only")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    if asked.flops:
        small, large = flops(6, 384, VOCABULARY), flops(12, 768, 50257)
        print(
            f"6 layers x 384:  {small['last']:.2f}x last logit, {small['all']:.2f}x all logits (bar 1.6x last)"
        )
        print(
            f"12 layers x 768: {large['last']:.2f}x last logit, {large['all']:.2f}x all logits (bar 1.75x last)"
        )
        raise SystemExit(not (small["last"] >= 1.6 and large["last"] >= 1.75))
    raise SystemExit(
        not (real_model(asked.rounds) if asked.real else random_model(asked.rounds, asked.small))
    )


if __name__ == "__main__":
    main()
