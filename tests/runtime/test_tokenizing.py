"""Text to token ids, with a tokenizer of few words in the place of transformers'."""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.runtime import UNCOMPILED, config, field, load_runtime
from tests.runtime.conftest import Serve

pytestmark = pytest.mark.torch

NET = """
import torch

class Config:
    pad_token_id = PAD
    max_position_embeddings = 34
    model_type = "KIND"

class Net(torch.nn.Module):
    config = Config()

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, input_ids, attention_mask):
        assert input_ids.shape[1]
        return (input_ids * attention_mask).sum(1, keepdim=True).float() * self.scale
"""


class Tokenizer:
    """Words to their lengths, without special tokens."""

    trusted: Any = None
    model_max_length = 10**30
    pad_token: str | None = None
    eos_token: str | None = "</s>"
    pad_token_id = 2
    options: dict[str, Any] = {}  # noqa: RUF012  # a stand-in's

    @classmethod
    def from_pretrained(cls, folder: str, **options: Any) -> Tokenizer:
        Tokenizer.trusted = options["trust_remote_code"]
        return cls()

    def __call__(self, texts: list[str], *pairs: list[str], **options: Any) -> dict[str, torch.Tensor]:
        Tokenizer.options = options
        ids = [[len(word) for word in " ".join(one).split()] for one in zip(texts, *pairs, strict=True)]
        longest = max(map(len, ids))
        padded = [one + [2] * (longest - len(one)) for one in ids]
        mask = [[1] * len(one) + [0] * (longest - len(one)) for one in ids]
        shape = (len(texts), longest)
        return {
            "input_ids": torch.tensor(padded, dtype=torch.long).reshape(shape),
            "attention_mask": torch.tensor(mask, dtype=torch.long).reshape(shape),
        }


@pytest.fixture
def text(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """A model that takes token ids, with a tokenizer beside it."""
    library = types.ModuleType("transformers")
    library.AutoTokenizer = type("Fresh", (Tokenizer,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", library)
    write(serve)
    (serve.folder() / "sentencepiece.bpe.model").write_bytes(b"")
    return serve


def write(serve: Serve, kind: str = "gpt2", padding: int | None = None) -> None:
    serve.write(NET.replace("PAD", str(padding)).replace("KIND", kind), file="zoo.py")


def described(*inputs: dict[str, Any], most: int = 4, **parameters: str) -> dict[str, Any]:
    parameters = {"MODEL_CLASS": "zoo:Net", "MODEL_WEIGHTS": "none", **UNCOMPILED, **parameters}
    given = list(inputs) or [field("text", "STRING", [1])]
    return config(given, [field("y", "FP32", [1])], max_batch_size=most, parameters=parameters)


def ask(model: Any, *texts: bytes) -> list[float]:
    answer: list[float] = model.infer(text=np.array([[one] for one in texts], dtype=object))["y"][
        :, 0
    ].tolist()
    return answer


def test_a_tokenizer_without_special_tokens_is_warmed_with_a_text(text: Serve) -> None:
    assert ask(text.load(described()), b"a short one", b"a") == [9, 1]


@pytest.mark.parametrize("texts", [(b"",), (b"a", b" ")])
def test_a_text_without_tokens_is_an_error_in_words(text: Serve, texts: tuple[bytes, ...]) -> None:
    model = text.load(described())
    with pytest.raises(text.pb.TritonModelException, match="an empty text has no tokens for this model"):
        ask(model, *texts)


def test_the_model_knows_what_its_texts_are_padded_with(text: Serve) -> None:
    model = text.load(described()).instance.engine.model.eager
    assert model.model.config.pad_token_id == 2


def test_a_tokenizer_that_cannot_pad(text: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tokenizer, "eos_token", None)
    assert text.error(described()).startswith(
        "the tokenizer has no token to pad texts with: set its pad_token"
    )


@pytest.mark.parametrize(
    ("kind", "longest"), [("gpt2", 34), ("bert", 34), ("xlm-roberta", 32), ("mpnet", 32)]
)
def test_positions_that_no_token_takes(text: Serve, kind: str, longest: int) -> None:
    write(text, kind, 1)
    text.load(described())
    assert Tokenizer.options["max_length"] == longest


def test_positions_behind_that_of_padding() -> None:
    tokenizing = load_runtime().runtime_module("tokenizing")
    model: Any = torch.nn.ModuleDict({"position_embeddings": torch.nn.Embedding(34, 2, padding_idx=1)})
    assert tokenizing.most_tokens(model, Tokenizer()) is None
    model.config = types.SimpleNamespace(max_position_embeddings=34)
    assert tokenizing.most_tokens(model, Tokenizer()) == 32


@pytest.mark.parametrize("trusts", ["true", "false"])
def test_trust_reaches_the_tokenizer(text: Serve, trusts: str) -> None:
    text.load(described(TRUST_REMOTE_CODE=trusts))
    assert Tokenizer.trusted is (trusts == "true")


def test_code_of_a_tokenizer_is_not_run(text: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise ValueError("Please pass the argument `trust_remote_code=True`")

    monkeypatch.setattr(sys.modules["transformers"].AutoTokenizer, "from_pretrained", refuse)
    assert text.error(described()) == (
        "the tokenizer's code is in its own repository, which is not run: "
        'TRUST_REMOTE_CODE: "true" runs the code in the version folder'
    )


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ([field(name, "STRING", [1]) for name in "abc"], "3 inputs are TYPE_STRING"),
        ([field("text", "STRING", [2])], "input 'text' is TYPE_STRING with dims [2]; expected [1]: one text"),
        (
            [field("text", "STRING", [-1])],
            "input 'text' is TYPE_STRING with dims [-1]; expected [1]: one text",
        ),
    ],
)
def test_inputs_that_are_not_one_text_or_two(text: Serve, inputs: list[dict[str, Any]], told: str) -> None:
    assert text.error(described(*inputs)).startswith(told)


def test_pairs_and_lists_of_texts(text: Serve) -> None:
    text.load(described(field("text", "STRING", [1]), field("pair", "STRING", [1])))
    listed = described(field("text", "STRING", [-1]), most=0)
    listed["output"][0]["dims"] = [-1, 1]
    text.load(listed)


def test_text_for_a_folder_that_cannot_take_it(serve: Serve) -> None:
    (serve.folder() / "config.json").write_text('{"model_type": "bert"}')
    both = [field("text", "STRING", [1]), field("token_type_ids", "INT64", [-1])]
    assert serve.error(described(*both)).startswith("input 'text' is TYPE_STRING and 'token_type_ids' is not")
    told = serve.error(described())
    assert told.startswith(
        "input 'text' is TYPE_STRING, and the version folder has no tokenizer (tokenizer.json, "
    )


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            {"spiece.model": b"\n"},
            "sentencepiece and protobuf are needed to read it: add them to the recipe's",
        ),
        ({"tokenizer.json": b"{", "spiece.model": b""}, "ValueError: as it is"),
        ({"vocab.txt": b"a"}, "ValueError: as it is"),
        (
            {"vocab.txt": b"version https://git-lfs.github.com/spec/v1\n"},
            "vocab.txt is a Git LFS pointer, not the file itself: `git lfs pull` fetches that",
        ),
    ],
)
def test_a_tokenizer_that_cannot_be_loaded(
    text: Serve, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], told: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("as it is")

    monkeypatch.setattr(sys.modules["transformers"].AutoTokenizer, "from_pretrained", fail)
    (text.folder() / "sentencepiece.bpe.model").unlink()
    for name, content in files.items():
        (text.folder() / name).write_bytes(content)
    said = text.error(described())
    assert said.startswith("the tokenizer in the version folder cannot be loaded: ValueError: as it is")
    assert told in said
    assert ("sentencepiece" in said) is ("sentencepiece" in told)


class Sentences(torch.nn.Sequential):
    """Stands in for a model of sentence-transformers: an embedding is a text's length."""

    max_seq_length = 8
    tokenizer = None

    def __init__(self) -> None:
        super().__init__(torch.nn.Linear(1, 1))
        self.asked: list[tuple[list[str], dict[str, Any]]] = []

    def get_max_seq_length(self) -> int:
        return self.max_seq_length

    def encode(self, texts: list[str], **options: Any) -> torch.Tensor:
        self.asked.append((texts, options))
        return torch.tensor([[float(len(one))] for one in texts])


@pytest.mark.parametrize("longest", [None, 5])
def test_texts_of_a_sentence_model_go_through_its_encode(longest: int | None) -> None:
    """It applies prompts and lower case, and keeps the order of the texts."""
    module, library = load_runtime().runtime_module("tokenizing"), Sentences()
    parameters = types.SimpleNamespace(longest_text=longest, trust_remote_code=False)
    model = module.with_tokenizer(
        module.SentenceModel(library), "", parameters, ["input_ids"], ["sentence_embedding"]
    )
    assert model(["a", "four", ""])["sentence_embedding"].tolist() == [[1.0], [4.0], [0.0]]
    assert library.max_seq_length == (longest or 8)
    (asked,) = library.asked
    assert asked == (
        ["a", "four", ""],
        {"batch_size": 3, "convert_to_tensor": True, "show_progress_bar": False},
    )
    assert model([])["sentence_embedding"].numel() == 0
