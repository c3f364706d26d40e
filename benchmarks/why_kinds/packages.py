"""What people train with beside torch and transformers, where it is installed.

`pip install peft pytorch-optimizer schedulefree lion-pytorch prodigyopt` adds these kinds.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from benchmarks.why_kinds.making import Kind, Step, trained
from benchmarks.why_kinds.optimizers import with_optimizer
from benchmarks.why_kinds.transformers import SMALL, VOCAB, B, T

# Names of pytorch-optimizer's; what else each of them needs.
_OPTIMIZERS: dict[str, dict[str, Any]] = {
    "A2Grad": {}, "AdaBelief": {}, "AdaBound": {}, "AdaDelta": {}, "AdaFactor": {},
    "AdaMax": {}, "AdaMod": {}, "AdamP": {}, "AdamS": {}, "AdamC": {}, "AdamG": {},
    "AdaNorm": {}, "AdaPNM": {}, "AdaShift": {}, "AdaSmooth": {}, "AdaTAM": {}, "AdEMAMix": {},
    "ADOPT": {}, "AggMo": {}, "Aida": {}, "Alice": {}, "Amos": {}, "APOLLO": {}, "AvaGrad": {},
    "BCOS": {}, "CAME": {}, "Conda": {}, "DAdaptAdaGrad": {}, "DAdaptAdam": {}, "DAdaptAdan": {},
    "DAdaptLion": {}, "DAdaptSGD": {}, "DiffGrad": {}, "EmoFact": {}, "EmoLynx": {}, "EmoNavi": {},
    "EXAdam": {}, "FAdam": {}, "Fira": {}, "FOCUS": {}, "Fromage": {}, "FTRL": {}, "GaLore": {},
    "Grams": {}, "Gravity": {}, "GrokFastAdamW": {}, "Kate": {}, "Kron": {}, "Lamb": {}, "LARS": {},
    "LaProp": {}, "Lion": {}, "MADGRAD": {}, "MARS": {}, "MSVAG": {}, "Nero": {},
    "NovoGrad": {}, "PAdam": {}, "PID": {}, "PNM": {}, "Prodigy": {}, "QHAdam": {}, "QHM": {},
    "RACS": {}, "Ranger": {}, "Ranger21": {"num_iterations": 100}, "ScalableShampoo": {},
    "ScheduleFreeAdamW": {}, "ScheduleFreeRAdam": {}, "ScheduleFreeSGD": {}, "SGDP": {},
    "SGDSaI": {}, "SGDW": {}, "Shampoo": {}, "SignSGD": {}, "SimplifiedAdEMAMix": {}, "SM3": {},
    "SOAP": {}, "SPAM": {}, "SPlus": {}, "SRMM": {}, "StableAdamW": {},
    "StableSPAM": {}, "SWATS": {}, "TAM": {}, "Tiger": {}, "VSGD": {"num_samples": 6}, "Yogi": {},
}  # fmt: skip


def _of_package(package: str, name: str, **options: Any) -> Kind:
    def make(params: list[Tensor]) -> Any:
        optimizer = getattr(importlib.import_module(package), name)(params, **options)
        if hasattr(optimizer, "train"):
            optimizer.train()  # a schedule-free one keeps two sets of weights
        return optimizer

    return with_optimizer(make)


def _tuned(base: str, method: str, **options: Any) -> Kind:
    """A small model of transformers, tuned by a method of PEFT."""

    def kind() -> Step:
        library, peft = importlib.import_module("transformers"), importlib.import_module("peft")
        config = getattr(library, f"{base}Config")(**SMALL, num_key_value_heads=1, head_dim=8)
        model = getattr(library, f"{base}ForCausalLM")(config)
        model = peft.get_peft_model(model, getattr(peft, method)(task_type="CAUSAL_LM", **options))
        ids = torch.randint(3, VOCAB, (B, T))
        moving = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
        return trained(model.train(), lambda: model(input_ids=ids, labels=ids).loss, moving)

    return kind


_LAYERS = {"target_modules": ["q_proj", "v_proj"]}
_PEFT: dict[str, Kind] = {
    "LoRA of PEFT": _tuned("Llama", "LoraConfig", r=4, lora_dropout=0.1, **_LAYERS),
    "rsLoRA": _tuned("Llama", "LoraConfig", r=4, use_rslora=True, **_LAYERS),
    "DoRA of PEFT": _tuned("Llama", "LoraConfig", r=4, use_dora=True, **_LAYERS),
    "PiSSA": _tuned("Llama", "LoraConfig", r=4, init_lora_weights="pissa", **_LAYERS),
    "AdaLoRA": _tuned("Llama", "AdaLoraConfig", total_step=10, **_LAYERS),
    "VeRA": _tuned("Llama", "VeraConfig", r=4, target_modules=["q_proj"]),
    "LoHa": _tuned("Llama", "LoHaConfig", r=2, **_LAYERS),
    "LoKr": _tuned("Llama", "LoKrConfig", r=2, **_LAYERS),
    "OFT": _tuned("Llama", "OFTConfig", oft_block_size=4, **_LAYERS),
    "IA³ of PEFT": _tuned("Llama", "IA3Config", feedforward_modules=[], **_LAYERS),
    "LN tuning": _tuned("Llama", "LNTuningConfig", target_modules=["input_layernorm"]),
    "prompt tuning": _tuned("Llama", "PromptTuningConfig", num_virtual_tokens=3),
    "prefix tuning of PEFT": _tuned("Llama", "PrefixTuningConfig", num_virtual_tokens=3),
    "p-tuning": _tuned("Llama", "PromptEncoderConfig", num_virtual_tokens=3),
    "FourierFT": _tuned("Llama", "FourierFTConfig", n_frequency=8, **_LAYERS),
}

KINDS: dict[str, Kind] = {}
if find_spec("peft"):
    KINDS |= _PEFT
if find_spec("pytorch_optimizer"):
    for _name, _options in _OPTIMIZERS.items():
        KINDS[f"{_name} of pytorch-optimizer"] = _of_package("pytorch_optimizer", _name, **_options)
if find_spec("schedulefree"):
    for _name in ("AdamWScheduleFree", "SGDScheduleFree", "RAdamScheduleFree"):
        KINDS[_name] = _of_package("schedulefree", _name, lr=0.01)
if find_spec("lion_pytorch"):
    KINDS["Lion of lion-pytorch"] = _of_package("lion_pytorch", "Lion", lr=0.01)
if find_spec("prodigyopt"):
    KINDS["Prodigy of prodigyopt"] = _of_package("prodigyopt", "Prodigy")
