"""Tiny random diffusers pipelines of the real classes, whole: text encoders, tokenizers, scheduler, decoder."""

from __future__ import annotations

import warnings

import torch

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def save(name, folder):
    """Build the pipeline of that name and save it to a folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # diffusers and transformers, about themselves
        torch.manual_seed(0)
        {"dit": _dit, "pixart": _pixart, "sd3": _sd3, "flux": _flux, "unet": _unet}[name]().save_pretrained(
            folder
        )
    return folder


def _t5(width=12):
    import transformers as tf

    encoder = tf.T5EncoderModel(
        tf.T5Config(vocab_size=60, d_model=width, d_kv=6, d_ff=16, num_layers=1, num_heads=2)
    )
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocab += [("\u2581" + c, -2.0) for c in LETTERS] + [(c, -3.0) for c in LETTERS]
    return encoder, tf.T5TokenizerFast(vocab=vocab, extra_ids=0)


def _clip(kind):
    import transformers as tf

    config = tf.CLIPTextConfig(
        vocab_size=64, hidden_size=12, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=77, projection_dim=8, bos_token_id=62, eos_token_id=63, pad_token_id=63,
    )  # fmt: skip
    words = [*LETTERS, *(c + "</w>" for c in LETTERS)]
    vocab = {w: i for i, w in enumerate(words)} | {"<|startoftext|>": 62, "<|endoftext|>": 63}
    tokenizer = tf.CLIPTokenizer(vocab=vocab, merges=[])
    tokenizer.model_max_length = 77
    return getattr(tf, kind)(config), tokenizer


def _vae():
    import diffusers as df

    return df.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8), norm_num_groups=4, latent_channels=4, layers_per_block=1, shift_factor=0.0,
        scaling_factor=1.0,
    )  # fmt: skip


def _dit():
    import diffusers as df

    model = df.DiTTransformer2DModel(
        num_attention_heads=4, attention_head_dim=6, in_channels=4, out_channels=8, num_layers=2, sample_size=4,
        patch_size=2, num_embeds_ada_norm=1000,
    )  # fmt: skip
    return df.DiTPipeline(model, _vae(), df.DDIMScheduler())


def _pixart():
    import diffusers as df

    model = df.PixArtTransformer2DModel(
        num_attention_heads=4, attention_head_dim=6, in_channels=4, out_channels=8, num_layers=2,
        cross_attention_dim=24, sample_size=4, patch_size=2, caption_channels=12, use_additional_conditions=False,
        num_embeds_ada_norm=1000,
    )  # fmt: skip
    encoder, tokenizer = _t5()
    return df.PixArtAlphaPipeline(tokenizer, encoder, _vae(), model, df.DPMSolverMultistepScheduler())


def _sd3():
    import diffusers as df

    model = df.SD3Transformer2DModel(
        sample_size=4, patch_size=2, in_channels=4, num_layers=2, attention_head_dim=6, num_attention_heads=4,
        joint_attention_dim=24, caption_projection_dim=24, pooled_projection_dim=16, out_channels=4,
    )  # fmt: skip
    (e1, t1), (e2, t2), (e3, t3) = (
        _clip("CLIPTextModelWithProjection"), _clip("CLIPTextModelWithProjection"), _t5(24),
    )  # fmt: skip
    return df.StableDiffusion3Pipeline(
        transformer=model, scheduler=df.FlowMatchEulerDiscreteScheduler(), vae=_vae(), text_encoder=e1, tokenizer=t1,
        text_encoder_2=e2, tokenizer_2=t2, text_encoder_3=e3, tokenizer_3=t3,
    )  # fmt: skip


def _flux():
    import diffusers as df

    model = df.FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=8, num_attention_heads=4,
        joint_attention_dim=12, pooled_projection_dim=12, axes_dims_rope=(2, 2, 4),
    )  # fmt: skip
    (e1, t1), (e2, t2) = _clip("CLIPTextModel"), _t5()
    return df.FluxPipeline(
        transformer=model, scheduler=df.FlowMatchEulerDiscreteScheduler(), vae=_vae(), text_encoder=e1, tokenizer=t1,
        text_encoder_2=e2, tokenizer_2=t2,
    )  # fmt: skip


def _unet():
    import diffusers as df

    model = df.UNet2DModel(
        sample_size=8, in_channels=3, out_channels=3, block_out_channels=(8, 8), norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, layers_per_block=1,
    )  # fmt: skip
    return df.DDPMPipeline(model, df.DDPMScheduler())
