"""Small models of the transformers library, with random weights."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from benchmarks.why_kinds.making import Kind, Step, trained

VOCAB, B, T = 31, 2, 8

SMALL: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED = {"num_key_value_heads": 1, "head_dim": 8}


def _language(name: str, head: str = "ForCausalLM", **options: Any) -> Kind:
    """A language model: the loss that it works out itself from its labels."""

    def kind() -> Step:
        library = importlib.import_module("transformers")
        config = getattr(library, f"{name}Config")(**{**SMALL, **options})
        model = getattr(library, f"{name}{head}")(config)
        ids = torch.randint(3, VOCAB, (B, T))
        seen = torch.ones(B, T, dtype=torch.long)
        seen[1, -2:] = 0

        def loss() -> Tensor:
            return model(input_ids=ids, attention_mask=seen, labels=ids).loss

        return trained(model.train(), loss, torch.optim.AdamW(model.parameters()), clip=1.0)

    return kind


def _classifier(name: str, **options: Any) -> Kind:
    def kind() -> Step:
        library = importlib.import_module("transformers")
        shape = {**SMALL, "num_labels": 3, **options}
        config = getattr(library, f"{name}Config")(
            **{k: v for k, v in shape.items() if v is not None}
        )
        model = getattr(library, f"{name}ForSequenceClassification")(config)
        ids, y = torch.randint(3, VOCAB, (B, T)), torch.tensor([0, 2])
        return trained(model, lambda: model(input_ids=ids, labels=y).loss)

    return kind


def _pictures(name: str, head: str = "ForImageClassification", **options: Any) -> Kind:
    def kind() -> Step:
        library = importlib.import_module("transformers")
        shape = {**SMALL, "image_size": 8, "patch_size": 4, "num_labels": 3, **options}
        config = getattr(library, f"{name}Config")(
            **{k: v for k, v in shape.items() if v is not None}
        )
        model = getattr(library, f"{name}{head}")(config)
        x, y = torch.randn(B, 3, config.image_size, config.image_size), torch.tensor([0, 2])
        return trained(model, lambda: model(pixel_values=x, labels=y).loss)

    return kind


_EXPERTS = {**_GROUPED, "num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2,
            "moe_intermediate_size": 8}  # fmt: skip
_OLD = {"n_layer": 2, "n_head": 2, "n_embd": 16, "n_positions": 16}
_T5 = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2,
       "decoder_start_token_id": 0}  # fmt: skip
_BART = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
         "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24,
         "decoder_start_token_id": 2, "forced_eos_token_id": None}  # fmt: skip
_LATENT = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4,
           "v_head_dim": 4, "n_routed_experts": 4, "n_group": 2, "topk_group": 1,
           "num_experts_per_tok": 2, "moe_intermediate_size": 8, "first_k_dense_replace": 1,
           "num_key_value_heads": 2}  # fmt: skip
_MAMBA = {"state_size": 4, "expand": 2, "conv_kernel": 3, "time_step_rank": 2}

KINDS: dict[str, Kind] = {
    "GPT-2": _language("GPT2", "LMHeadModel", **_OLD),
    "Llama": _language("Llama", **_GROUPED),
    "Llama, eager attention": _language("Llama", attn_implementation="eager", **_GROUPED),
    "Mistral": _language("Mistral", **_GROUPED, sliding_window=4),
    "Mixtral": _language("Mixtral", **_EXPERTS, output_router_logits=True),
    "Qwen2": _language("Qwen2", **_GROUPED),
    "Qwen3": _language("Qwen3", **_GROUPED),
    "Qwen3-MoE": _language("Qwen3Moe", **_EXPERTS),
    "Gemma": _language("Gemma", **_GROUPED),
    "Gemma 2": _language("Gemma2", **_GROUPED),
    "Gemma 2, eager attention": _language("Gemma2", **_GROUPED, attn_implementation="eager"),
    "Phi": _language("Phi"),
    "Phi-3": _language("Phi3"),
    "GPT-NeoX": _language("GPTNeoX"),
    "GPT-J": _language("GPTJ", **_OLD, rotary_dim=4),
    "GPT-Neo": _language(
        "GPTNeo", num_layers=2, num_heads=2, attention_types=[[["global", "local"], 1]]
    ),
    "OPT": _language("OPT", ffn_dim=24, word_embed_proj_dim=16),
    "BLOOM": _language("Bloom", n_layer=2, n_head=2),
    "Falcon": _language("Falcon"),
    "OLMo 2": _language("Olmo2"),
    "StableLM": _language("StableLm", num_key_value_heads=2),
    "StarCoder 2": _language("Starcoder2", num_key_value_heads=1),
    "Cohere": _language("Cohere", num_key_value_heads=1),
    "Granite": _language("Granite", num_key_value_heads=1),
    "GLM-4": _language("Glm4", **_GROUPED),
    "MPT": _language("Mpt", d_model=16, n_heads=2, n_layers=2, max_seq_len=16),
    "gpt-oss": _language("GptOss", **_EXPERTS),
    "DeepSeek-V3": _language("DeepseekV3", **_LATENT),
    "Mamba": _language("Mamba", **_MAMBA),
    "RWKV": _language("Rwkv", attention_hidden_size=16, context_length=16),
    "BERT": _language("Bert", "ForMaskedLM"),
    "BERT, classifier": _classifier("Bert"),
    "RoBERTa": _language("Roberta", "ForMaskedLM"),
    "ALBERT": _language("Albert", "ForMaskedLM", embedding_size=8),
    "ELECTRA": _language("Electra", "ForMaskedLM", embedding_size=8),
    "DistilBERT": _language(
        "DistilBert", "ForMaskedLM", dim=16, n_layers=2, n_heads=2, hidden_dim=24
    ),
    "DeBERTa": _classifier(
        "DebertaV2", relative_attention=True, pos_att_type=["c2p", "p2c"], position_buckets=4
    ),
    "ModernBERT": _language(
        "ModernBert", "ForMaskedLM", cls_token_id=1, sep_token_id=2, attn_implementation="sdpa"
    ),
    "XLNet": _classifier(
        "XLNet", max_position_embeddings=None, d_model=16, n_layer=1, n_head=2, d_inner=24
    ),
    "Funnel": _classifier(
        "Funnel",
        num_hidden_layers=None,
        num_attention_heads=None,
        d_model=16,
        n_head=2,
        d_head=8,
        d_inner=24,
        block_sizes=[1, 1],
    ),
    "FNet": _classifier("FNet", tpu_short_seq_length=8),
    "Longformer": _classifier("Longformer", attention_window=4),
    "BigBird": _classifier("BigBird", attention_type="original_full"),
    "T5": _language("T5", "ForConditionalGeneration", **_T5),
    "T5, gated": _language("T5", "ForConditionalGeneration", **_T5, feed_forward_proj="gated-gelu"),
    "BART": _language("Bart", "ForConditionalGeneration", **_BART),
    "Pegasus": _language("Pegasus", "ForConditionalGeneration", **_BART),
    "Marian": _language("Marian", "MTModel", **_BART),
    "ViT": _pictures("ViT"),
    "DeiT": _pictures("DeiT"),
    "BEiT": _pictures("Beit"),
    "Swin": _pictures(
        "Swin",
        embed_dim=8,
        depths=[1, 1],
        num_attention_heads=None,
        num_heads=[1, 2],
        window_size=2,
        patch_size=2,
    ),
    "ConvNeXt": _pictures(
        "ConvNext", depths=[1, 1], hidden_sizes=[8, 16], num_stages=2, image_size=16
    ),
    "ResNet": _pictures(
        "ResNet", depths=[1, 1], hidden_sizes=[8, 16], embedding_size=8, image_size=32
    ),
    "MobileNetV2": _pictures("MobileNetV2", depth_multiplier=0.25, image_size=32),
    "EfficientNet": _pictures(
        "EfficientNet", width_coefficient=0.1, depth_coefficient=0.1, image_size=32, hidden_dim=128
    ),
    "PoolFormer": _pictures(
        "PoolFormer",
        depths=[1, 1],
        hidden_sizes=[8, 16],
        image_size=16,
        num_encoder_blocks=2,
        patch_sizes=[3, 3],
        strides=[2, 2],
        padding=[1, 1],
    ),
    "SegFormer": _pictures(
        "Segformer",
        num_encoder_blocks=2,
        depths=[1, 1],
        hidden_sizes=[8, 16],
        num_attention_heads=[1, 2],
        sr_ratios=[2, 1],
        patch_sizes=[3, 3],
        strides=[2, 2],
        mlp_ratios=[2, 2],
        image_size=16,
    ),
}
