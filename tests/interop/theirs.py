"""Tiny models of the transformers library with random weights, and tokenizers for them."""

import json
from pathlib import Path

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing

from whence.interop.pretokenizers import RULES

NASTY = [
    "The quick brown fox.",
    "family: 👨‍👩‍👧‍👦, flag: 🇩🇪, skin: 👍🏽, keycap: 3️⃣",
    "combining: e\u0301 n\u0303 \u0915\u094d\u0937 Z\u0351\u036b\u0343",
    "one\r\ntwo\r\n\r\n  three\tfour\n\n\n",
    "runs     of      spaces   ",
    "   leading, trailing   \n ",
    "1234567890 3.14159 1,000,000 ٣٤٥ ½",
    "control: \x00\x01\x07\x1b[0m\x7f\u200b\ufeff",
    "it's we'll I'D THEY'RE don’t",
    "<|im_start|>user\nhi<|im_end|> <s></s>",
    "日本語テキスト 한국어 العربية ไทย",
    "def f(x):\n    return x ** 2  # comment",
    " ",
    "\n",
    "",
    "▁ literally an underscore ▁▁",
    "\ufffd and \U0010ffff",
]
# Without the line of special tokens: merges would make them.
CORPUS = [
    *(line for line in NASTY if "<s>" not in line),
    *(f"{i} bottles of beer on the wall, {i} bottles of beer." for i in range(99)),
]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_level(rule: str = "gpt-2", size: int = 400) -> Tokenizer:
    """Byte-level BPE that cuts by one of the rules."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=rule == "llama-bpe"))
    blank = json.loads(tokenizer.to_str())
    blank["pre_tokenizer"] = RULES[rule]
    tokenizer = Tokenizer.from_str(json.dumps(blank))
    if rule == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


BYTES = [f"<0x{value:02X}>" for value in range(256)]


def sentencepiece_bpe(scheme: str = "first", size: int = 600) -> Tokenizer:
    """BPE on characters with bytes to fall back on, as Llama 2 and Mistral have it."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme=scheme, split=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<unk>", "<s>", "</s>", *BYTES],
        limit_alphabet=80,
        show_progress=False,
        max_token_length=12,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return _only_three_special(tokenizer)


def unigram(size: int = 600) -> Tokenizer:
    """A unigram model with bytes to fall back on."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=size,
        special_tokens=["<unk>", "<s>", "</s>", *BYTES],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator([line.replace("\x00", "") for line in CORPUS], trainer)
    tree = json.loads(tokenizer.to_str())
    tree["model"]["byte_fallback"] = True
    tokenizer = Tokenizer.from_str(json.dumps(tree))
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace("▁", prepend_scheme="always")]
    )
    return _only_three_special(tokenizer)


def _only_three_special(tokenizer: Tokenizer) -> Tokenizer:
    """Bytes are ordinary tokens; a text begins with <s>."""
    tree = json.loads(tokenizer.to_str())
    tree["added_tokens"] = [t for t in tree["added_tokens"] if t["content"] not in BYTES]
    tokenizer = Tokenizer.from_str(json.dumps(tree))
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def fast(tokenizer: Tokenizer, **options) -> hf.PreTrainedTokenizerFast:
    """The tokenizer as the transformers library has it."""
    return hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **options)


SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 512,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 256,
}
SHORT_YARN = {
    "rope_type": "yarn",
    "rope_theta": 500.0,
    "factor": 8.0,
    "beta_fast": 4.0,
    "beta_slow": 0.5,
    "mscale": 1.0,
    "mscale_all_dim": 0.5,
    "original_max_position_embeddings": 40,
}
OWN_YARN = {
    "rope_type": "yarn",
    "rope_theta": 500.0,
    "factor": 2.5,
    "attention_factor": 0.97,
    "original_max_position_embeddings": 40,
}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}
# name: (config, model, settings)
MODELS = {
    "gpt2": (hf.GPT2Config, hf.GPT2LMHeadModel, {}),
    "gpt2, untied": (hf.GPT2Config, hf.GPT2LMHeadModel, {"tie_word_embeddings": False}),
    "llama": (hf.LlamaConfig, hf.LlamaForCausalLM, {}),
    "llama, tied": (hf.LlamaConfig, hf.LlamaForCausalLM, {"tie_word_embeddings": True}),
    "llama, shared keys": (hf.LlamaConfig, hf.LlamaForCausalLM, {"num_key_value_heads": 2}),
    "llama, long heads": (hf.LlamaConfig, hf.LlamaForCausalLM, {"head_dim": 16}),
    "llama 3": (
        hf.LlamaConfig,
        hf.LlamaForCausalLM,
        {"rope_parameters": LLAMA3, "num_key_value_heads": 1, "head_dim": 16},
    ),
    "llama, linear": (hf.LlamaConfig, hf.LlamaForCausalLM, {"rope_parameters": LINEAR}),
    "llama, biases": (
        hf.LlamaConfig,
        hf.LlamaForCausalLM,
        {"attention_bias": True, "mlp_bias": True},
    ),
    "llama, attention's biases": (hf.LlamaConfig, hf.LlamaForCausalLM, {"attention_bias": True}),
    "llama, feed-forward's biases": (hf.LlamaConfig, hf.LlamaForCausalLM, {"mlp_bias": True}),
    "mistral": (
        hf.MistralConfig,
        hf.MistralForCausalLM,
        {"num_key_value_heads": 2, "sliding_window": None},
    ),
    "arcee": (hf.ArceeConfig, hf.ArceeForCausalLM, {"head_dim": 8, "num_key_value_heads": 4}),
    "qwen2": (hf.Qwen2Config, hf.Qwen2ForCausalLM, {"num_key_value_heads": 2}),
    "qwen2, yarn": (
        hf.Qwen2Config,
        hf.Qwen2ForCausalLM,
        {"num_key_value_heads": 2, "rope_parameters": SHORT_YARN},
    ),
    "llama, yarn": (
        hf.LlamaConfig,
        hf.LlamaForCausalLM,
        {"rope_parameters": YARN, "head_dim": 32},
    ),
    "qwen3": (
        hf.Qwen3Config,
        hf.Qwen3ForCausalLM,
        {"num_key_value_heads": 2, "head_dim": 16},
    ),
    "qwen3, yarn": (
        hf.Qwen3Config,
        hf.Qwen3ForCausalLM,
        {"num_key_value_heads": 2, "head_dim": 32, "rope_parameters": OWN_YARN},
    ),
    "qwen3, tied": (
        hf.Qwen3Config,
        hf.Qwen3ForCausalLM,
        {"num_key_value_heads": 4, "head_dim": 8, "tie_word_embeddings": True},
    ),
}
GPT2_NAMES = {
    "hidden_size": "n_embd",
    "intermediate_size": "n_inner",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "max_position_embeddings": "n_positions",
}


def theirs(name: str, vocab_size: int = 400, seed: int = 0) -> hf.PreTrainedModel:
    """One of the models, every weight and bias drawn."""
    config, form, settings = MODELS[name]
    sizes = {**SIZES, **settings, "vocab_size": vocab_size}
    if form is hf.GPT2LMHeadModel:
        sizes = {GPT2_NAMES.get(key, key): value for key, value in sizes.items()}
    torch.manual_seed(seed)
    model = form(config(**sizes)).eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:  # norms and biases, which start at 1 and 0
            torch.nn.init.normal_(parameter, mean=parameter.mean().item(), std=0.1)
    return model


def folder(
    path: Path, model: hf.PreTrainedModel, tokenizer: Tokenizer | None = None, **save
) -> Path:
    """A folder with all of it, as `save_pretrained` writes it."""
    model.save_pretrained(path, **save)
    whole = fast(tokenizer or byte_level(), eos_token="<|im_end|>")
    whole.chat_template = TEMPLATE
    whole.save_pretrained(path)
    return path


@torch.inference_mode()
def greedy(model: hf.PreTrainedModel, ids: list[int], n: int) -> list[int]:
    """What the transformers library writes on, always the likeliest token."""
    settings = {"do_sample": False, "max_new_tokens": n, "pad_token_id": 0, "eos_token_id": None}
    tokens = torch.tensor([ids])
    return model.generate(tokens, attention_mask=torch.ones_like(tokens), **settings)[0].tolist()
