"""Tiny random models of real classes, each with a small input: made anew on each call, from a fixed seed."""

from __future__ import annotations

import torch


def ids(rows=3, length=7, vocabulary=60):
    g = torch.Generator().manual_seed(rows * 100 + length)
    tokens = torch.randint(5, vocabulary, (rows, length), generator=g)
    keep = torch.ones(rows, length, dtype=torch.long)
    keep[0, length - 2 :] = 0
    return {"input_ids": tokens, "attention_mask": keep}


def text_model(name, **sizes):
    """A tiny Hugging Face text model by its lower-case family name."""
    import transformers as tf

    small = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    bert = small | {
        "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40,
    }  # fmt: skip
    decoder = {"use_cache": False}
    makers = {
        "bert": lambda: tf.BertModel(tf.BertConfig(**bert | sizes)),
        "roberta": lambda: tf.RobertaModel(tf.RobertaConfig(**bert | sizes)),
        "electra": lambda: tf.ElectraModel(tf.ElectraConfig(**bert | sizes)),
        "albert": lambda: tf.AlbertModel(tf.AlbertConfig(**bert | {"embedding_size": 16} | sizes)),
        "deberta": lambda: tf.DebertaV2Model(tf.DebertaV2Config(**bert | sizes)),
        "distilbert": lambda: tf.DistilBertModel(
            tf.DistilBertConfig(**small, dim=24, n_layers=3, n_heads=4, hidden_dim=40)
        ),
        "modernbert": lambda: tf.ModernBertModel(
            tf.ModernBertConfig(**bert, cls_token_id=3, sep_token_id=4, local_attention=4)
        ),
        "gpt2": lambda: tf.GPT2Model(tf.GPT2Config(**small, n_embd=24, n_layer=3, n_head=4, **decoder)),
        "llama": lambda: tf.LlamaModel(tf.LlamaConfig(**bert, num_key_value_heads=2, **decoder)),
        "qwen2": lambda: tf.Qwen2Model(tf.Qwen2Config(**bert, num_key_value_heads=2, **decoder)),
        "qwen3": lambda: tf.Qwen3Model(
            tf.Qwen3Config(**bert, num_key_value_heads=2, head_dim=6, **decoder)
        ),
        "mistral": lambda: tf.MistralModel(
            tf.MistralConfig(**bert, num_key_value_heads=2, sliding_window=4, **decoder)
        ),
        "gemma2": lambda: tf.Gemma2Model(
            tf.Gemma2Config(**bert, num_key_value_heads=2, head_dim=6, **decoder)
        ),
        "neox": lambda: tf.GPTNeoXModel(tf.GPTNeoXConfig(**bert, **decoder)),
        "opt": lambda: tf.OPTModel(
            tf.OPTConfig(
                **small, hidden_size=24, num_hidden_layers=3, num_attention_heads=4, ffn_dim=40,
                max_position_embeddings=32, word_embed_proj_dim=24, **decoder,
            )
        ),
        "phi": lambda: tf.PhiModel(tf.PhiConfig(**bert | {"hidden_size": 32}, **decoder)),
        "bloom": lambda: tf.BloomModel(
            tf.BloomConfig(vocab_size=64, hidden_size=24, n_layer=3, n_head=4, **decoder)
        ),
        "gptj": lambda: tf.GPTJModel(
            tf.GPTJConfig(vocab_size=64, n_embd=32, n_layer=3, n_head=4, rotary_dim=4, **decoder)
        ),
        "falcon": lambda: tf.FalconModel(
            tf.FalconConfig(**small, hidden_size=24, num_hidden_layers=3, num_attention_heads=4, **decoder)
        ),
        "phi3": lambda: tf.Phi3Model(tf.Phi3Config(**bert, num_key_value_heads=2, **decoder)),
        "gemma3": lambda: tf.Gemma3TextModel(
            tf.Gemma3TextConfig(**bert, num_key_value_heads=2, head_dim=6, sliding_window=4, **decoder)
        ),
        "olmo2": lambda: tf.Olmo2Model(tf.Olmo2Config(**bert, num_key_value_heads=2, **decoder)),
        "mixtral": lambda: tf.MixtralModel(
            tf.MixtralConfig(**bert, num_key_value_heads=2, num_local_experts=2, **decoder)
        ),
        "gptneo": lambda: tf.GPTNeoModel(
            tf.GPTNeoConfig(
                vocab_size=64, hidden_size=24, num_layers=2, num_heads=4, intermediate_size=40, window_size=4,
                attention_types=[[["global", "local"], 1]], **decoder,
            )
        ),
        "stablelm": lambda: tf.StableLmModel(tf.StableLmConfig(**bert, num_key_value_heads=2, **decoder)),
        "cohere": lambda: tf.CohereModel(tf.CohereConfig(**bert, num_key_value_heads=2, **decoder)),
        "granite": lambda: tf.GraniteModel(tf.GraniteConfig(**bert, num_key_value_heads=2, **decoder)),
        "mpt": lambda: tf.MptModel(tf.MptConfig(vocab_size=64, d_model=24, n_heads=4, n_layers=2, **decoder)),
        "xlnet": lambda: tf.XLNetModel(tf.XLNetConfig(vocab_size=64, d_model=24, n_layer=2, n_head=4, d_inner=40)),
        "cliptext": lambda: tf.CLIPTextModel(tf.CLIPTextConfig(**bert, max_position_embeddings=32)),
        "t5": lambda: tf.T5Model(
            tf.T5Config(
                vocab_size=64, d_model=24, d_kv=6, d_ff=40, num_layers=2, num_heads=4,
                decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, **decoder,
            )
        ),
        "bart": lambda: tf.BartModel(
            tf.BartConfig(
                **small, d_model=24, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
                decoder_attention_heads=4, encoder_ffn_dim=40, decoder_ffn_dim=40, max_position_embeddings=32,
                decoder_start_token_id=2, forced_eos_token_id=2, **decoder,
            )
        ),
    }  # fmt: skip
    torch.manual_seed(0)
    model = makers[name]().eval()
    inputs = ids()
    if name in ("t5", "bart"):
        inputs["decoder_input_ids"] = ids(3, 5)["input_ids"]
    return model, inputs


def vision_model(name):
    """A tiny Hugging Face model of images (or, for whisper, of sound)."""
    import transformers as tf

    size = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40}
    makers = {
        "vit": lambda: tf.ViTModel(tf.ViTConfig(**size, image_size=8, patch_size=4)),
        "dinov2": lambda: tf.Dinov2Model(tf.Dinov2Config(**size, image_size=8, patch_size=4)),
        "clip": lambda: tf.CLIPVisionModel(tf.CLIPVisionConfig(**size, image_size=8, patch_size=4)),
        "swin": lambda: tf.SwinModel(
            tf.SwinConfig(
                image_size=16, patch_size=2, embed_dim=8, depths=[1, 2], num_heads=[2, 2], window_size=2
            )
        ),
    }
    if name == "whisper":
        torch.manual_seed(0)
        config = tf.WhisperConfig(
            vocab_size=64, d_model=24, encoder_layers=2, decoder_layers=1, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=40, decoder_ffn_dim=40, num_mel_bins=8, max_source_positions=10,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        )  # fmt: skip
        encoder = tf.WhisperModel(config).encoder.eval()
        g = torch.Generator().manual_seed(3)
        return encoder, {"input_features": torch.randn(3, 8, 20, generator=g)}
    torch.manual_seed(0)
    model = makers[name]().eval()
    side = 16 if name == "swin" else 8
    g = torch.Generator().manual_seed(3)
    return model, {"pixel_values": torch.randn(3, 3, side, side, generator=g)}


def diffusion_model(name):
    """A tiny diffusers transformer and one denoising step's inputs; two samples."""
    import diffusers as df

    g = torch.Generator().manual_seed(4)

    def randn(*shape):
        return torch.randn(*shape, generator=g)

    torch.manual_seed(0)
    step = torch.tensor([500.0, 500.0])
    if name == "dit":
        model = df.DiTTransformer2DModel(
            num_attention_heads=4, attention_head_dim=6, in_channels=2, num_layers=3, sample_size=8, patch_size=2,
            num_embeds_ada_norm=10,
        )  # fmt: skip
        inputs = {
            "hidden_states": randn(2, 2, 8, 8), "timestep": step.long(), "class_labels": torch.tensor([1, 2]),
        }  # fmt: skip
    elif name == "pixart":
        model = df.PixArtTransformer2DModel(
            num_attention_heads=4, attention_head_dim=6, in_channels=2, out_channels=2, num_layers=2,
            cross_attention_dim=24, sample_size=8, patch_size=2, caption_channels=12,
            use_additional_conditions=False, num_embeds_ada_norm=1000,
        )  # fmt: skip
        inputs = {
            "hidden_states": randn(2, 2, 8, 8), "timestep": step.long(), "encoder_hidden_states": randn(2, 5, 12),
            "encoder_attention_mask": torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]),
            "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
        }  # fmt: skip
    elif name == "sd3":
        model = df.SD3Transformer2DModel(
            sample_size=8, patch_size=2, in_channels=4, num_layers=2, attention_head_dim=6,
            num_attention_heads=4, joint_attention_dim=12, caption_projection_dim=24, pooled_projection_dim=10,
            out_channels=4,
        )  # fmt: skip
        inputs = {
            "hidden_states": randn(2, 4, 8, 8), "timestep": step, "encoder_hidden_states": randn(2, 5, 12),
            "pooled_projections": randn(2, 10),
        }  # fmt: skip
    else:
        model = df.FluxTransformer2DModel(
            patch_size=1, in_channels=4, num_layers=1, num_single_layers=2, attention_head_dim=8,
            num_attention_heads=4, joint_attention_dim=12, pooled_projection_dim=10, axes_dims_rope=(2, 2, 4),
        )  # fmt: skip
        rows, columns = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
        inputs = {
            "hidden_states": randn(2, 16, 4), "timestep": step / 1000, "encoder_hidden_states": randn(2, 5, 12),
            "pooled_projections": randn(2, 10), "txt_ids": torch.zeros(5, 3),
            "img_ids": torch.stack([rows.flatten() * 0, rows.flatten(), columns.flatten()], 1).float(),
        }  # fmt: skip
    for parameter in model.parameters():  # zero-initialised gates would hide every edit
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval(), inputs


TEXT = (
    "bert", "roberta", "electra", "albert", "deberta", "distilbert", "modernbert", "gpt2", "llama", "qwen2",
    "qwen3", "mistral", "gemma2", "neox", "opt", "phi", "bloom", "gptj", "falcon", "t5", "bart", "phi3", "gemma3",
    "olmo2", "mixtral", "gptneo", "stablelm", "cohere", "granite", "mpt", "xlnet", "cliptext",
)  # fmt: skip
VISION = ("vit", "dinov2", "clip", "swin", "whisper")
DIFFUSION = ("dit", "pixart", "sd3", "flux")


def tiny(name):
    """The model of that name and its inputs."""
    if name in TEXT:
        return text_model(name)
    return vision_model(name) if name in VISION else diffusion_model(name)


def output_tensor(output):
    """The main tensor of any of these models' outputs."""
    return next(v for v in output.values() if isinstance(v, torch.Tensor))


class Wrapped:
    """A diffusion model with an example whose seed changes the image alone."""

    def __init__(self, model, inputs):
        self.model, self.inputs = model, inputs

    def example(self, seed):
        g = torch.Generator().manual_seed(seed)
        image = torch.randn(self.inputs["hidden_states"].shape, generator=g)
        return self.inputs | {"hidden_states": image}
