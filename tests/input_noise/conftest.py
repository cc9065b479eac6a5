"""A context and an encoder small enough for tests: no worker, no weights, no network."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from agentkit import Unit


class FakeContext:
    """What a worker hands to a tool; targets are given by URI."""

    device = "cpu"
    cancelled = False
    batch = None

    def __init__(self, targets, conditions=None, workdir=None):
        self.targets, self.conditions, self.workdir = targets, conditions, workdir
        self.artifacts = {}
        self.reported = []

    def target(self, uri):
        return self.targets[uri]

    def progress(self, done, total):
        self.reported.append((done, total))

    def artifact(self, name, value):
        self.artifacts[name] = value
        return hashlib.sha256(name.encode()).hexdigest()

    def wants(self, condition):
        return self.conditions is None or condition in self.conditions or condition == "baseline"


class TrigramEncoder:
    """Stands in for a sentence encoder: counts of letter trigrams in 64 hashed cells, ignoring case."""

    def __init__(self):
        self.seen = []

    def encode(self, texts):
        self.seen += texts
        return np.stack([self._row(text.lower()) for text in texts])

    @staticmethod
    def _row(text):
        row = np.zeros(64, dtype=np.float32)
        row[0] = 1
        for at in range(len(text) - 2):
            row[int.from_bytes(hashlib.md5(text[at : at + 3].encode()).digest()[:2]) % 64] += 1
        return row / np.linalg.norm(row)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small nets on few cores: more threads only wait for one another."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_context():
    """`make_context({uri: target}, conditions=None)`."""
    return FakeContext


@pytest.fixture
def encoder():
    """A stand-in encoder that remembers what it was asked."""
    return TrigramEncoder()


@pytest.fixture
def units():
    """Five units."""
    return [Unit(index=i, seed=7_000 + i) for i in range(5)]


@pytest.fixture(scope="session")
def addresses():
    """The vendored addresses."""
    from agentkit_input_noise.addresses import addresses as loader

    return loader.load("", "cpu")


@pytest.fixture(scope="session")
def ngram(addresses):
    """The n-gram tagger, trained once (3 CPU s)."""
    from agentkit_input_noise import tagger

    return tagger.NgramTagger(tagger.train(addresses)["weights"], tagger.tag_names(addresses))


@pytest.fixture(scope="session")
def digits():
    """scikit-learn's digits; tests that need them are skipped without scikit-learn."""
    pytest.importorskip("sklearn", reason="digits: needs scikit-learn (extra `image`)")
    from agentkit_input_noise.digits import load_digits

    return load_digits()


@pytest.fixture(scope="session")
def digits_net(digits, tmp_path_factory):
    """`digits:cnn`, from the user's cache or trained now (5 to 10 CPU s)."""
    from agentkit_input_noise.digits_target import digits as loader

    return loader.load("cnn", "cpu")
