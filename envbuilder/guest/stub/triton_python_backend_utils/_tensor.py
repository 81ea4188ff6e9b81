"""Triton's tensor class."""

# ruff: noqa: UP006 - Python 3.8
from __future__ import annotations

import ctypes
import sys
from typing import Any, List, Set, Tuple

import numpy as np

from ._arguments import text
from ._errors import TritonModelException
from ._releases import lacks, refuse
from ._types import BF16, NUMBERED, elements, numpy_to_triton_type

_CPU, _CUDA = 1, 2
"""``DLDeviceType``."""
_UNSIGNED, _BFLOAT = 1, 4
"""``DLDataTypeCode``."""
_CODE_AT = 20
"""Offset in bytes of the type code in a ``DLManagedTensor``: after a pointer, the device, and the number of dims."""

_DELETER_AT = 56
"""Offset in bytes of the deleter in a ``DLManagedTensor``: after the ``DLTensor`` and a pointer."""


class Tensor:
    """A named tensor, stored as a NumPy array (BF16 as uint16 bits) or, on a GPU or for BF16, as a torch tensor."""

    __slots__ = ("_data", "_dtype", "_given", "_name")
    _given: np.ndarray[Any, Any] | None
    """The array given to the constructor: strings are serialized then, but ``as_numpy`` returns the given ones."""

    def __init__(self, name: str, data: np.ndarray[Any, Any], /) -> None:
        name = text("Tensor", name)
        if name == "":
            raise TritonModelException("Tensor name cannot be an empty string.")
        if not isinstance(data, np.ndarray):
            raise TypeError(f"__init__(): incompatible constructor arguments: {type(data).__name__}")
        kind = np.dtype(np.object_) if data.dtype.kind == "S" else data.dtype
        number = numpy_to_triton_type(kind)  # also None for a type of another byte order
        if number is None:
            raise TritonModelException("NumPy dtype is not supported.")
        self._name, self._dtype = name, number
        self._given = data if data.flags.c_contiguous else np.ascontiguousarray(data)
        self._data: Any = _as_bytes(self._given) if kind == np.object_ else self._given

    @classmethod
    def from_dlpack(cls, name: str, source: Any, /) -> Tensor:
        """Return a tensor that shares memory with *source*, a DLPack capsule or an object with ``__dlpack__``."""
        name = text("from_dlpack", name)
        if name == "":
            raise TritonModelException("Tensor name cannot be an empty string.")
        if isinstance(source, np.ndarray):
            raise TritonModelException("from_dlpack of a NumPy array: it ends the stub of Triton 24.10")
        from_numpy = type(source).__name__ == "PyCapsule" and _is_of_numpy(source)
        data, kind = _from_dlpack(source)
        contiguous = data.flags.c_contiguous if isinstance(data, np.ndarray) else data.is_contiguous()
        if not contiguous:
            raise TritonModelException(
                "DLPack tensor is not contiguous. Only contiguous DLPack tensors that are stored in C-Order "
                "are supported."
            )
        if from_numpy:
            raise TritonModelException("from_dlpack of NumPy's own capsule: it ends the stub of Triton 24.10")
        _check_half(kind)
        tensor = cls.__new__(cls)
        tensor._name, tensor._data, tensor._dtype, tensor._given = name, data, kind, None
        if tensor._dtype != BF16 and tensor.is_cpu() and not isinstance(data, np.ndarray):
            tensor._data = data.numpy()
        return tensor

    @classmethod
    def from_bits(cls, name: str, bits: np.ndarray[Any, Any]) -> Tensor:
        """Return a BF16 tensor from its bits as uint16. For the host: Triton has no such function."""
        _check_half(BF16)
        tensor = cls.__new__(cls)
        tensor._name, tensor._data, tensor._dtype, tensor._given = name, bits, BF16, None
        return tensor

    def bits(self) -> np.ndarray[Any, Any]:
        """Return the bits of a BF16 tensor as uint16 in host memory. For the host."""
        if isinstance(self._data, np.ndarray):
            return self._data
        import torch

        bits: np.ndarray[Any, Any] = self._data.view(torch.int16).numpy().view(np.uint16)
        return bits

    def name(self) -> str:
        """Return the name."""
        return self._name

    def shape(self) -> List[int]:
        """Return the shape."""
        return [int(size) for size in self._data.shape]

    def triton_dtype(self) -> int:
        """Raise TypeError as in Triton, whose module does not expose the enumeration."""
        raise TypeError(
            "Unable to convert function return value to a Python type! The signature was\n"
            "\t(self: c_python_backend_utils.Tensor) -> TRITONSERVER_datatype_enum"
        )

    def number(self) -> int:
        """Return the number of the data type in Triton's enumeration. For the host."""
        return self._dtype

    def is_cpu(self) -> bool:
        """Return whether it is in host memory."""
        return isinstance(self._data, np.ndarray) or self._data.device.type == "cpu"

    def as_numpy(self) -> np.ndarray[Any, Any]:
        """Return the tensor as an array that shares its memory."""
        if not self.is_cpu():
            raise TritonModelException("Tensor is stored in GPU and cannot be converted to NumPy.")
        if self._dtype == BF16:
            raise TritonModelException(
                "Tensor dtype is BF16 and cannot be converted to NumPy. Use to_dlpack() and from_dlpack() instead."
            )
        return self.content() if self._given is None else self._given

    def content(self) -> np.ndarray[Any, Any]:
        """Return the array as the server has it, strings as bytes. For the host: Triton has no such function."""
        array: np.ndarray[Any, Any] = self._data
        return array

    def to_dlpack(self) -> Any:
        """Return the tensor as a DLPack capsule."""
        if self._dtype == 13:
            raise TritonModelException("TYPE_BYTES tensors cannot be converted to DLPack.")
        if self._dtype == BF16 and isinstance(self._data, np.ndarray):
            capsule = _lent_by_us(self._data)
            _code_of(capsule).value = _BFLOAT
            return capsule
        if isinstance(self._data, np.ndarray) and "torch" not in sys.modules:
            # NumPy exports only writable arrays.
            data = self._data if self._data.flags.writeable else self._data.copy()
            return _lent_by_us(data)
        import torch
        from torch.utils.dlpack import to_dlpack  # type: ignore[attr-defined]  # public, yet not in its __all__

        return to_dlpack(torch.from_numpy(self._data) if isinstance(self._data, np.ndarray) else self._data)

    def __dlpack__(self, stream: Any = None) -> Any:
        """Return the tensor as a DLPack capsule; *stream* is ignored, as the data is complete."""
        return self.to_dlpack()

    def __dlpack_device__(self) -> Tuple[int, int]:
        """Return the type (``DLDeviceType``) and the number of the device."""
        return (_CPU, 0) if self.is_cpu() else (_CUDA, int(self._data.device.index or 0))

    def sent(self) -> Tensor:
        """Return a copy: the server copies what is sent, so later changes of a buffer do not reach the client."""
        copy = type(self).__new__(type(self))
        copy._name, copy._dtype, copy._given = self._name, self._dtype, None
        # Of a masked array or a matrix, only the elements.
        copy._data = np.array(self._data) if isinstance(self._data, np.ndarray) else self._data.clone()
        return copy


def _check_half(kind: int) -> None:
    if kind == BF16 and lacks("BF16 tensors"):
        refuse("BF16 tensors", TritonModelException("Tensor of BF16: the data type is not supported."))


class _Capsule:
    """A DLPack capsule as the object that NumPy expects; NumPy itself refuses capsules of other devices."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> Tuple[int, int]:
        return (_CPU, 0)


_ours: Set[int] = set()
"""Addresses of the DLPack tensors that NumPy created for :meth:`Tensor.to_dlpack`."""


def _lent_by_us(array: np.ndarray[Any, Any]) -> Any:
    capsule = array.__dlpack__()
    _ours.add(_pointer_of(capsule))
    return capsule


def _is_of_numpy(capsule: Any) -> bool:
    """Return whether NumPy made a capsule (it has NumPy's deleter), but not for a tensor of this module."""
    if not hasattr(np.ndarray, "__dlpack__"):
        return False
    mine = np.ones(1).__dlpack__()
    deleters = {ctypes.c_void_p.from_address(_pointer_of(one) + _DELETER_AT).value for one in (capsule, mine)}
    return len(deleters) == 1 and _pointer_of(capsule) not in _ours


def _pointer_of(capsule: Any) -> int:
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    pointer: int = pointer_of(capsule, b"dltensor")
    return pointer


def _code_of(capsule: Any) -> ctypes.c_uint8:
    """Return a reference to the type code of a DLPack capsule, which can be assigned."""
    return ctypes.c_uint8.from_address(_pointer_of(capsule) + _CODE_AT)


def _bits_of(source: Any) -> Any:
    """Return the bits of BF16 in *source*, a capsule or an object with ``__dlpack__``; None for another type."""
    try:
        capsule = source if type(source).__name__ == "PyCapsule" else source.__dlpack__()
        code = _code_of(capsule)
        if code.value != _BFLOAT:
            return None
        code.value = _UNSIGNED
        return np.from_dlpack(_Capsule(capsule))
    except (AttributeError, BufferError, RuntimeError, TypeError, ValueError):
        return None


def _from_dlpack(source: Any) -> Tuple[Any, int]:
    """Return *source* as a NumPy array, or as a torch tensor if torch is loaded or NumPy fails; and its type number."""
    if not hasattr(source, "__dlpack_device__"):
        lent = _Capsule(source) if type(source).__name__ == "PyCapsule" else None
    else:
        lent = source if source.__dlpack_device__()[0] == _CPU else None
    if lent is not None and "torch" not in sys.modules:
        try:
            array = np.from_dlpack(lent)
            return array, _number_of(array.dtype)
        except (AttributeError, BufferError, RuntimeError, TypeError):
            pass  # an old NumPy, or a type that it does not have
        bits = _bits_of(source)
        if bits is not None:
            return bits, BF16
    try:
        import torch.utils.dlpack
    except ImportError:
        raise TritonModelException(
            "a DLPack tensor that NumPy cannot take: without torch it is not known here"
        ) from None

    data = torch.utils.dlpack.from_dlpack(source)
    return data, _number_of(data.dtype)


def _as_bytes(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return *data* as after Triton's serialization: every element is a bytes object."""
    items = elements(data)
    result = np.empty(len(items), dtype=np.object_)
    result[:] = items
    return result.reshape(data.shape)


def _number_of(dtype: Any) -> int:
    name = str(dtype).replace("torch.", "")
    if name == "bfloat16":
        return BF16
    kind = np.dtype(name).type
    return next(number for number, known in NUMBERED.items() if known is kind)
