"""Derive inputs and outputs of transformers models from ``config.json``.

Inputs are named like arguments of ``forward``, outputs like fields of its result. Architectures without a known rule
are refused, because a wrong configuration would only fail at the first request. Dims are without the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from envbuilder.deployment.pbtxt import quote

_TYPES = {"float16": "FP16", "bfloat16": "BF16", "float64": "FP64"}
_SIZES = ("hidden_size", "d_model", "n_embd", "n_embed", "dim", "emb_dim")
_VISION = (
    "ViT",
    "DeiT",
    "Beit",
    "Data2VecVision",
    "Dinov2",
    "Dinov2WithRegisters",
    "CLIPVision",
    "SiglipVision",
)
"""Vision models whose ``last_hidden_state`` is ``[batch, patches, hidden_size]``."""
_DETECTION = ("Detr", "ConditionalDetr", "TableTransformer", "Yolos")
_ANSWER = ("XLNet", "XLM", "Flaubert", "Tapas", "Longformer")
"""Models whose question answering returns something else than start and end logits, or needs separator tokens."""
_OTHERS = (
    "Perceiver",
    "ImageGPT",
    "Reformer",
    "ViTMAE",
    "Wav2Vec2Bert",
    *(f"{name}ForQuestion" for name in _ANSWER),
)
"""Prefixes of classes whose ``forward`` differs from that of other classes with the same suffix."""
_UNMASKED = ("FNet",)
_DECODERS = (
    "GPT",
    "Llama",
    "Mistral",
    "Mixtral",
    "Qwen",
    "Phi",
    "Falcon",
    "Bloom",
    "CTRL",
    "OpenAIGPT",
    "StableLm",
)
"""Prefixes of decoders that classify by the last token before padding, and so need ``pad_token_id``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """An input or an output of a configuration."""

    name: str
    data_type: str
    dims: tuple[int, ...]

    def text(self) -> str:
        """Return the tensor in protobuf's text format."""
        return f"{{ name: {quote(self.name)} data_type: TYPE_{self.data_type} dims: {[*self.dims]} }}"


Tensors = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]

ID = Tensor(name="input_ids", data_type="INT64", dims=(-1,))
MASK = Tensor(name="attention_mask", data_type="INT64", dims=(-1,))
IDS = (ID, MASK)
_DECODER = Tensor(name="decoder_input_ids", data_type="INT64", dims=(-1,))

UNTOLD = (AttributeError, KeyError, TypeError, ValueError, ArithmeticError)
"""Errors raised if inputs and outputs cannot be determined."""


def data_type(config: Mapping[str, Any], stored: str | None = None) -> str:
    """Return the Triton type of a model's floats: that of *config*, or else of its weights (*stored*), or FP32."""
    said = config.get("dtype") or config.get("torch_dtype")
    return _TYPES.get(str(said or stored), "FP32")


def check(*tensors: Tensor) -> None:
    """Check that the dims are valid in a configuration: -1, or a positive int32.

    Raises:
        ValueError: one is not.
    """
    if any(not (dim == -1 or 0 < dim < 2**31) for tensor in tensors for dim in tensor.dims):
        raise ValueError


def hidden_size(config: Mapping[str, Any]) -> int:
    """Return the size of a model's hidden states.

    Raises:
        One of UNTOLD: *config* does not have it.
    """
    keys = [key for key in _SIZES if key in config]
    return int(config[keys[0] if keys else _SIZES[0]])


def describe_architecture(architecture: str, config: Mapping[str, Any], kind: str) -> Tensors:
    """Return inputs and outputs of an *architecture*, whose floats have the Triton type *kind*.

    Raises:
        One of UNTOLD: they cannot be determined.
    """
    model = _Model(architecture, config, kind)
    for describe in (_clip, _whisper, _sound, _picture_model, _text):
        if found := describe(model):
            check(*found[0], *found[1])
            return found
    raise ValueError(architecture)


def needs_padding(architecture: str, config: Mapping[str, Any]) -> bool:
    """Return whether a classifier fails on batches because *config* has no ``pad_token_id``."""
    classifies = architecture.endswith("ForSequenceClassification") and architecture.startswith(_DECODERS)
    return classifies and config.get("pad_token_id") is None


class _Model:
    """An architecture with its configuration."""

    def __init__(self, name: str, config: Mapping[str, Any], kind: str) -> None:
        self.name, self.config, self.kind = name, config, kind
        nested = {key for key, value in config.items() if key.endswith("_config") and isinstance(value, dict)}
        self.has_parts = bool(nested)
        self.is_sound = not {"num_mel_bins", "conv_dim", "feature_projection_input_dim"}.isdisjoint(config)
        self.is_picture = not {"image_size", "num_channels", "patch_size"}.isdisjoint(config)
        self.is_page = "max_2d_position_embeddings" in config

    def ends(self, *ends: str) -> bool:
        """Return whether the class name ends with one of *ends*, and the class is not an exception."""
        return self.name.endswith(ends) and not self.name.startswith(_OTHERS)

    def number(self, key: str) -> int:
        """Return the integer under *key* of the configuration."""
        return int(self.config[key])

    @property
    def labels(self) -> int:
        """The number of classes; transformers' default is 2."""
        said = self.config.get("id2label")
        return len(said) if said is not None else int(self.config.get("num_labels", 2))

    def tensor(self, name: str, *dims: int) -> Tensor:
        """Return a tensor with the model's float type."""
        return Tensor(name=name, data_type=self.kind, dims=dims)

    def picture(self, config: Mapping[str, Any] | None = None, size: int = 224) -> Tensor:
        """Return the image input, ``[channels, height, width]``."""
        config = self.config if config is None else config
        said = config.get("image_size", size)
        if isinstance(said, Mapping):
            said = [said["height"], said["width"]]
        height, width = said if isinstance(said, list) else (said, said)
        return self.tensor("pixel_values", int(config.get("num_channels", 3)), int(height), int(width))


def _clip(model: _Model) -> Tensors | None:
    if model.name != "CLIPModel":
        return None
    size = model.number("projection_dim")
    inputs = (ID, model.picture(model.config["vision_config"]), MASK)
    return inputs, (model.tensor("image_embeds", size), model.tensor("text_embeds", size))


def _whisper(model: _Model) -> Tensors | None:
    if model.name != "WhisperForConditionalGeneration":
        return None
    sound = model.tensor(
        "input_features", model.number("num_mel_bins"), 2 * model.number("max_source_positions")
    )
    return (sound, _DECODER), (model.tensor("logits", -1, model.number("vocab_size")),)


def _sound(model: _Model) -> Tensors | None:
    if not model.is_sound or model.has_parts:
        return None
    if model.name == "ASTForAudioClassification":
        spectrum = model.tensor("input_values", model.number("max_length"), model.number("num_mel_bins"))
        return (spectrum,), (model.tensor("logits", model.labels),)
    if "conv_dim" not in model.config:
        raise ValueError(model.name)
    values = (model.tensor("input_values", -1),)
    if model.ends("ForCTC"):
        return values, (model.tensor("logits", -1, model.number("vocab_size")),)
    if model.ends("ForSequenceClassification"):
        return values, (model.tensor("logits", model.labels),)
    if model.name in ("Wav2Vec2Model", "HubertModel", "WavLMModel"):
        return values, (model.tensor("last_hidden_state", -1, hidden_size(model.config)),)
    raise ValueError(model.name)


def _picture_model(model: _Model) -> Tensors | None:
    if model.has_parts and not model.ends("ForObjectDetection"):  # text and images, or a backbone
        raise ValueError(model.name)
    if model.ends("ForImageClassification"):
        return (model.picture(),), (model.tensor("logits", model.labels),)
    if model.ends("ForSemanticSegmentation"):
        return (model.picture(),), (model.tensor("logits", model.labels, -1, -1),)
    if model.ends("ForObjectDetection") and model.name.startswith(_DETECTION):
        boxes = model.number("num_detection_tokens" if model.name.startswith("Yolos") else "num_queries")
        nothing = 0 if model.name.startswith("ConditionalDetr") else 1
        pictures = (
            model.picture() if "image_size" in model.config else model.tensor("pixel_values", 3, -1, -1)
        )
        logits = model.tensor("logits", boxes, model.labels + nothing)
        return (pictures,), (logits, model.tensor("pred_boxes", boxes, 4))
    if model.is_picture:
        if model.name not in [f"{name}Model" for name in _VISION]:
            raise ValueError(model.name)
        return (model.picture(),), (model.tensor("last_hidden_state", -1, hidden_size(model.config)),)
    return None


def _text(model: _Model) -> Tensors | None:
    if model.is_page or "vocab_size" not in model.config:
        return None
    decodes = bool(model.config.get("is_encoder_decoder")) or model.ends(
        "ForConditionalGeneration", "MTModel"
    )
    heads: tuple[tuple[tuple[str, ...], Callable[[], tuple[Tensor, ...]]], ...] = (
        (("ForSequenceClassification",), lambda: (model.tensor("logits", model.labels),)),
        (("ForTokenClassification",), lambda: (model.tensor("logits", -1, model.labels),)),
        (
            ("ForQuestionAnswering",),
            lambda: (model.tensor("start_logits", -1), model.tensor("end_logits", -1)),
        ),
        (
            ("ForMaskedLM", "ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "MTModel"),
            lambda: (model.tensor("logits", -1, model.number("vocab_size")),),
        ),
        (("DoubleHeadsModel", "EncoderDecoderModel"), tuple),
        (("Model",), lambda: (model.tensor("last_hidden_state", -1, hidden_size(model.config)),)),
    )
    outputs = next((made() for ends, made in heads if model.ends(*ends)), ())
    if not outputs:
        return None
    if model.name.startswith(_UNMASKED):
        return (ID,), outputs
    generates = model.ends("ForConditionalGeneration", "MTModel", "Model") and not model.ends("EncoderModel")
    return (*IDS, _DECODER) if decodes and generates else IDS, outputs
