"""More real classes than `zoo` holds, tiny and random, each with a small input: the engine was not written for these.

A row is (library class, its config class or None, arguments, inputs). The seed is fixed; parameters that start at
zero (gates, adaptive norms, positions) are drawn, or they would hide every edit.
"""

from __future__ import annotations

import torch

from tests.attention.zoo import ids


def _randn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def _tokens_only():
    return {"input_ids": ids()["input_ids"]}


def _two_texts():
    return ids() | {"decoder_input_ids": ids(3, 5)["input_ids"]}


def _image(side=8):
    return lambda: {"pixel_values": _randn(3, 3, side, side)}


def _video():
    return {"pixel_values": _randn(2, 4, 3, 8, 8)}


SPECIAL = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SIZE = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40}
BERT = SPECIAL | SIZE
LLAMA = BERT | {"num_key_value_heads": 2, "use_cache": False}
SLIDING = LLAMA | {"sliding_window": 4}
MOE = LLAMA | {"head_dim": 6, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
SEQ2SEQ = SPECIAL | {
    "d_model": 24, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40, "use_cache": False,
    "decoder_start_token_id": 2,
}  # fmt: skip
PATCHES = SIZE | {"image_size": 8, "patch_size": 4}
CLIP_TEXT = BERT | {"max_position_embeddings": 32}
RELATIVE = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}

TEXT = {
    "starcoder2": ("Starcoder2Model", "Starcoder2Config", SLIDING, ids),
    "gptbigcode": (
        "GPTBigCodeModel", "GPTBigCodeConfig", SPECIAL | {"n_embd": 24, "n_layer": 3, "n_head": 4, "use_cache": False},
        ids,
    ),
    "cohere2": ("Cohere2Model", "Cohere2Config", SLIDING, ids),
    "gptoss": (
        "GptOssModel", "GptOssConfig",
        SLIDING | {"head_dim": 6, "num_local_experts": 2, "num_experts_per_tok": 1}, ids,
    ),
    "deepseekv3": (
        "DeepseekV3Model", "DeepseekV3Config",
        LLAMA | {
            "num_key_value_heads": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "q_lora_rank": 12,
            "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 6, "n_shared_experts": 1,
            "first_k_dense_replace": 1,
        },
        ids,
    ),
    "qwen3moe": ("Qwen3MoeModel", "Qwen3MoeConfig", MOE, ids),
    "smollm3": ("SmolLM3Model", "SmolLM3Config", LLAMA, ids),
    "llama4": (
        "Llama4TextModel", "Llama4TextConfig",
        LLAMA | {"head_dim": 6, "intermediate_size_mlp": 40, "num_local_experts": 2, "attention_chunk_size": 4}, ids,
    ),
    "olmo3": ("Olmo3Model", "Olmo3Config", SLIDING, ids),
    "glm4": ("Glm4Model", "Glm4Config", LLAMA | {"head_dim": 6}, ids),
    "nemotron": ("NemotronModel", "NemotronConfig", LLAMA, ids),
    "persimmon": ("PersimmonModel", "PersimmonConfig", BERT | {"hidden_size": 32, "use_cache": False}, ids),
    "falconalibi": (
        "FalconModel", "FalconConfig",
        SPECIAL | {
            "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "alibi": True, "use_cache": False,
        },
        ids,
    ),
    "jamba": (
        "JambaModel", "JambaConfig",
        LLAMA | {
            "num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 4, "mamba_dt_rank": 4,
        },
        ids,
    ),
    "diffllama": ("DiffLlamaModel", "DiffLlamaConfig", LLAMA, ids),
    "modernbertdecoder": (
        "ModernBertDecoderModel", "ModernBertDecoderConfig",
        BERT | {"cls_token_id": 3, "sep_token_id": 4, "local_attention": 4, "use_cache": False}, ids,
    ),
    "esm": ("EsmModel", "EsmConfig", BERT | {"mask_token_id": 4, "position_embedding_type": "rotary"}, ids),
    "mpnet": ("MPNetModel", "MPNetConfig", BERT, ids),
    "roformer": ("RoFormerModel", "RoFormerConfig", BERT | {"embedding_size": 24}, ids),
    "debertav1": ("DebertaModel", "DebertaConfig", BERT | RELATIVE, ids),
    "debertarelative": (
        "DebertaV2Model", "DebertaV2Config", BERT | RELATIVE | {"position_buckets": 8, "share_att_key": True}, ids,
    ),
    "longformer": ("LongformerModel", "LongformerConfig", BERT | {"sep_token_id": 4, "attention_window": 4}, ids),
    "bigbird": ("BigBirdModel", "BigBirdConfig", BERT | {"sep_token_id": 4, "attention_type": "original_full"}, ids),
    "funnel": (
        "FunnelModel", "FunnelConfig",
        {"vocab_size": 64, "block_sizes": [1, 1], "d_model": 24, "n_head": 4, "d_head": 6, "d_inner": 40}, ids,
    ),
    "xlm": (
        "XLMModel", "XLMConfig", {"vocab_size": 64, "emb_dim": 24, "n_layers": 2, "n_heads": 4, "pad_index": 0}, ids,
    ),
    "mbart": ("MBartModel", "MBartConfig", SEQ2SEQ | {"max_position_embeddings": 32}, _two_texts),
    "led": (
        "LEDModel", "LEDConfig",
        SEQ2SEQ | {
            "attention_window": 4, "max_encoder_position_embeddings": 32, "max_decoder_position_embeddings": 32,
        },
        _two_texts,
    ),
    "t5gemma": (
        "T5GemmaModel", "T5GemmaConfig",
        {"encoder": LLAMA | {"head_dim": 6}, "decoder": LLAMA | {"head_dim": 6, "cross_attention_hidden_size": 24}},
        _two_texts,
    ),
}  # fmt: skip

VISION = {
    "siglip": ("SiglipVisionModel", "SiglipVisionConfig", PATCHES, _image()),
    "siglip_text": ("SiglipTextModel", "SiglipTextConfig", CLIP_TEXT, ids),
    "beit": ("BeitModel", "BeitConfig", PATCHES | {"use_relative_position_bias": True}, _image()),
    "dinov3": ("DINOv3ViTModel", "DINOv3ViTConfig", PATCHES | {"hidden_size": 32}, _image()),
    "swinv2": (
        "Swinv2Model", "Swinv2Config",
        {"image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [1, 2], "num_heads": [2, 2], "window_size": 4},
        _image(16),
    ),
    "clip_both": (
        "CLIPModel", "CLIPConfig", {"text_config": CLIP_TEXT, "vision_config": PATCHES, "projection_dim": 16},
        lambda: _image()() | ids(),
    ),
    "segformer": (
        "SegformerModel", "SegformerConfig",
        {
            "hidden_sizes": [8, 16], "depths": [1, 1], "num_attention_heads": [1, 2], "num_encoder_blocks": 2,
            "sr_ratios": [2, 1], "patch_sizes": [7, 3], "strides": [4, 2], "mlp_ratios": [2, 2],
        },
        _image(32),
    ),
    "vitmae": (
        "ViTMAEModel", "ViTMAEConfig", PATCHES | {"mask_ratio": 0.5},
        lambda: _image()() | {"noise": torch.rand(3, 4, generator=torch.Generator().manual_seed(1))},
    ),
    "wav2vec2": (
        "Wav2Vec2Model", "Wav2Vec2Config",
        SIZE | {
            "vocab_size": 32, "conv_dim": [8, 8], "conv_stride": [5, 2], "conv_kernel": [10, 3],
            "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
            "mask_time_prob": 0.0,
        },
        lambda: {"input_values": _randn(3, 400)},
    ),
    "videomae": ("VideoMAEModel", "VideoMAEConfig", PATCHES | {"num_frames": 4, "tubelet_size": 2}, _video),
    "timesformer": ("TimesformerModel", "TimesformerConfig", PATCHES | {"num_frames": 4}, _video),
    "perceiver": (
        "PerceiverModel", "PerceiverConfig",
        {
            "num_latents": 5, "d_latents": 24, "d_model": 12, "num_blocks": 1, "num_self_attends_per_block": 2,
            "num_self_attention_heads": 4, "num_cross_attention_heads": 2,
        },
        lambda: {"inputs": _randn(3, 7, 12)},
    ),
    "patchtst": (
        "PatchTSTModel", "PatchTSTConfig",
        {
            "num_input_channels": 2, "context_length": 16, "patch_length": 4, "patch_stride": 4, "d_model": 24,
            "num_attention_heads": 4, "num_hidden_layers": 2, "ffn_dim": 40,
        },
        lambda: {"past_values": _randn(3, 16, 2)},
    ),
}  # fmt: skip

STEP = torch.tensor([500.0, 500.0])
FOUR = {"num_attention_heads": 4, "attention_head_dim": 8}
CHANNELS = {"in_channels": 4, "out_channels": 4}
TWO_LAYERS = {"num_layers": 2}


def _step(hidden, step=STEP, text=(2, 5, 12), **more):
    """Inputs of one denoising step of two samples under five tokens of text."""
    return lambda: {
        "hidden_states": _randn(*hidden), "timestep": step, "encoder_hidden_states": _randn(*text), **more,
    }  # fmt: skip


def _all_text(kind=torch.long):
    return torch.ones(2, 5, dtype=kind)


DIFFUSION = {
    "sana": (
        "SanaTransformer2DModel", None,
        CHANNELS | TWO_LAYERS | {
            "patch_size": 1, "num_attention_heads": 2, "attention_head_dim": 4, "num_cross_attention_heads": 2,
            "cross_attention_head_dim": 4, "cross_attention_dim": 8, "caption_channels": 12, "sample_size": 8,
        },
        _step((2, 4, 8, 8)),
    ),
    "hunyuandit": (
        "HunyuanDiT2DModel", None,
        TWO_LAYERS | {
            "sample_size": 16, "patch_size": 2, "attention_head_dim": 8, "num_attention_heads": 3,
            "cross_attention_dim": 8, "cross_attention_dim_t5": 8, "pooled_projection_dim": 4, "hidden_size": 24,
            "text_len": 8, "text_len_t5": 4, "activation_fn": "gelu-approximate", "in_channels": 4,
        },
        _step(
            (2, 4, 16, 16), text=(2, 8, 8), text_embedding_mask=torch.ones(2, 8),
            encoder_hidden_states_t5=_randn(2, 4, 8), text_embedding_mask_t5=torch.ones(2, 4),
            image_meta_size=torch.tensor([[16.0, 16, 16, 16, 0, 0]] * 2), style=torch.tensor([0, 0]),
            image_rotary_emb=[torch.ones(64, 8), torch.zeros(64, 8)],
        ),
    ),
    "auraflow": (
        "AuraFlowTransformer2DModel", None,
        CHANNELS | FOUR | {
            "sample_size": 8, "patch_size": 2, "num_mmdit_layers": 1, "num_single_dit_layers": 1,
            "joint_attention_dim": 12, "caption_projection_dim": 32, "pos_embed_max_size": 64,
        },
        _step((2, 4, 8, 8), STEP / 1000),
    ),
    "cogvideox": (
        "CogVideoXTransformer3DModel", None,
        CHANNELS | TWO_LAYERS | {
            "num_attention_heads": 2, "attention_head_dim": 16, "time_embed_dim": 2, "text_embed_dim": 12,
            "sample_width": 8, "sample_height": 8, "sample_frames": 5, "patch_size": 2,
            "temporal_compression_ratio": 4, "max_text_seq_length": 5,
        },
        _step((2, 2, 4, 8, 8)),
    ),
    "wan": (
        "WanTransformer3DModel", None,
        CHANNELS | TWO_LAYERS | {
            "patch_size": (1, 2, 2), "num_attention_heads": 2, "attention_head_dim": 12, "text_dim": 12,
            "freq_dim": 16, "ffn_dim": 32, "rope_max_seq_len": 32,
        },
        _step((2, 4, 2, 8, 8)),
    ),
    "ltx": (
        "LTXVideoTransformer3DModel", None,
        CHANNELS | TWO_LAYERS | {
            "num_attention_heads": 2, "attention_head_dim": 12, "cross_attention_dim": 24, "caption_channels": 12,
        },
        _step((2, 32, 4), encoder_attention_mask=_all_text(torch.bool), num_frames=2, height=4, width=4),
    ),
    "mochi": (
        "MochiTransformer3DModel", None,
        TWO_LAYERS | {
            "patch_size": 2, "num_attention_heads": 2, "attention_head_dim": 12, "pooled_projection_dim": 16,
            "in_channels": 4, "text_embed_dim": 16, "time_embed_dim": 4,
        },
        _step((2, 4, 2, 8, 8), text=(2, 5, 16), encoder_attention_mask=_all_text(torch.bool)),
    ),
    "qwenimage": (
        "QwenImageTransformer2DModel", None,
        TWO_LAYERS | {
            "patch_size": 2, "in_channels": 16, "out_channels": 4, "attention_head_dim": 16, "num_attention_heads": 3,
            "joint_attention_dim": 12, "axes_dims_rope": (8, 4, 4),
        },
        _step((2, 16, 16), STEP / 1000, encoder_hidden_states_mask=_all_text(), img_shapes=[(1, 4, 4)] * 2),
    ),
    "lumina": (
        "LuminaNextDiT2DModel", None,
        TWO_LAYERS | {
            "sample_size": 8, "patch_size": 2, "in_channels": 4, "hidden_size": 32, "num_attention_heads": 4,
            "num_kv_heads": 2, "multiple_of": 16, "cross_attention_dim": 12, "scaling_factor": 1.0,
        },
        _step(
            (2, 4, 8, 8), STEP / 1000, encoder_mask=torch.ones(2, 5), cross_attention_kwargs={},
            image_rotary_emb=torch.polar(torch.ones(8, 8, 4), torch.zeros(8, 8, 4)),
        ),
    ),
    "lumina2": (
        "Lumina2Transformer2DModel", None,
        TWO_LAYERS | {
            "sample_size": 8, "patch_size": 2, "in_channels": 4, "hidden_size": 24, "num_refiner_layers": 1,
            "num_attention_heads": 3, "num_kv_heads": 1, "multiple_of": 16, "axes_dim_rope": (4, 2, 2),
            "axes_lens": (64, 64, 64), "cap_feat_dim": 12,
        },
        _step((2, 4, 8, 8), STEP / 1000, encoder_attention_mask=_all_text(torch.bool)),
    ),
    "hunyuanvideo": (
        "HunyuanVideoTransformer3DModel", None,
        CHANNELS | {
            "num_attention_heads": 2, "attention_head_dim": 10, "num_layers": 1, "num_single_layers": 1,
            "num_refiner_layers": 1, "patch_size": 1, "patch_size_t": 1, "guidance_embeds": True,
            "text_embed_dim": 12, "pooled_projection_dim": 8, "rope_axes_dim": (2, 4, 4),
        },
        _step((2, 4, 1, 8, 8), pooled_projections=_randn(2, 8), encoder_attention_mask=_all_text(), guidance=STEP),
    ),
    "stableaudio": (
        "StableAudioDiTModel", None,
        CHANNELS | TWO_LAYERS | FOUR | {
            "sample_size": 8, "num_key_value_attention_heads": 2, "cross_attention_dim": 16,
            "cross_attention_input_dim": 12, "global_states_input_dim": 16, "time_proj_dim": 8,
        },
        _step((2, 4, 8), global_hidden_states=_randn(2, 1, 16)),
    ),
    "cogview4": (
        "CogView4Transformer2DModel", None,
        CHANNELS | TWO_LAYERS | FOUR | {
            "patch_size": 2, "text_embed_dim": 12, "time_embed_dim": 8, "condition_dim": 4, "sample_size": 8,
        },
        _step(
            (2, 4, 8, 8), original_size=torch.tensor([[8.0, 8]] * 2), target_size=torch.tensor([[8.0, 8]] * 2),
            crop_coords=torch.zeros(2, 2),
        ),
    ),
    "latte": (
        "LatteTransformer3DModel", None,
        CHANNELS | {
            "sample_size": 8, "num_layers": 1, "patch_size": 2, "attention_head_dim": 8, "num_attention_heads": 3,
            "caption_channels": 12, "cross_attention_dim": 24, "attention_bias": True, "video_length": 2,
            "activation_fn": "gelu-approximate", "num_embeds_ada_norm": 1000, "norm_type": "ada_norm_single",
            "norm_elementwise_affine": False,
        },
        _step((2, 4, 2, 8, 8), STEP.long()),
    ),
    "flux2": (
        "Flux2Transformer2DModel", None,
        {
            "patch_size": 1, "in_channels": 4, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16,
            "num_attention_heads": 2, "joint_attention_dim": 12, "timestep_guidance_channels": 16,
            "axes_dims_rope": (4, 4, 4, 4),
        },
        _step(
            (2, 16, 4), STEP / 1000, txt_ids=torch.zeros(5, 4), img_ids=torch.zeros(16, 4), guidance=STEP / 1000
        ),
    ),
    "unet": (
        "UNet2DConditionModel", None,
        CHANNELS | {
            "sample_size": 8, "block_out_channels": (8, 16), "layers_per_block": 1, "cross_attention_dim": 12,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "attention_head_dim": 4,
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "norm_num_groups": 4,
        },
        lambda: {"sample": _randn(2, 4, 8, 8), "timestep": 500, "encoder_hidden_states": _randn(2, 5, 12)},
    ),
}  # fmt: skip

TEXT |= {
    "reformer": (
        "ReformerModel", "ReformerConfig",
        {
            "vocab_size": 64, "hidden_size": 24, "num_attention_heads": 4, "attention_head_size": 6, "hash_seed": 1,
            "attn_layers": ["local", "lsh"], "axial_pos_embds": False, "max_position_embeddings": 64,
            "local_attn_chunk_length": 4, "lsh_attn_chunk_length": 4, "num_buckets": 2, "feed_forward_size": 32,
            "is_decoder": False, "use_cache": False,
        },
        lambda: {"input_ids": ids(3, 8)["input_ids"]},
    ),
    "codegen": (
        "CodeGenModel", "CodeGenConfig",
        SPECIAL | {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "n_positions": 64, "use_cache": False},
        ids,
    ),
    "xglm": (
        "XGLMModel", "XGLMConfig",
        SPECIAL | {"d_model": 24, "num_layers": 2, "attention_heads": 4, "ffn_dim": 32, "use_cache": False}, ids,
    ),
    "deepseekv2": (
        "DeepseekV2Model", "DeepseekV2Config",
        LLAMA | {
            "num_key_value_heads": 4, "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4,
            "v_head_dim": 6, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
            "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "n_shared_experts": 1,
        },
        ids,
    ),
}  # fmt: skip

REFUSED = {
    "convbert": ("ConvBertModel", "ConvBertConfig", BERT | {"embedding_size": 24}, ids),
    "squeezebert": ("SqueezeBertModel", "SqueezeBertConfig", BERT | {"embedding_size": 24}, ids),
    "wavlm": ("WavLMModel", "WavLMConfig", VISION["wav2vec2"][2], VISION["wav2vec2"][3]),
}
"""Attention whose heads nobody can tell apart from outside: mixed with a convolution, or another layout."""

WITHOUT_ATTENTION = {
    "mamba": (
        "MambaModel", "MambaConfig",
        {"vocab_size": 64, "hidden_size": 24, "num_hidden_layers": 2, "state_size": 4, "use_cache": False},
        _tokens_only,
    ),
    "fnet": (
        "FNetModel", "FNetConfig",
        {"vocab_size": 64, "hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 40}, _tokens_only,
    ),
}  # fmt: skip

ALL = TEXT | VISION | DIFFUSION | REFUSED | WITHOUT_ATTENTION


def tiny(name):
    """The model of that name and its inputs."""
    import diffusers
    import transformers

    cls, config, arguments, inputs = ALL[name]
    torch.manual_seed(0)
    if config is None:
        model = getattr(diffusers, cls)(**arguments)
    else:
        model = getattr(transformers, cls)(getattr(transformers, config)(**arguments))
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval(), inputs()
