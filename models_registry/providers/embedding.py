"""Texts to embed, and the vectors that a model gives for them.

A vector stands for the meaning of a text as numbers; texts of a kind have vectors that are close.
"""

from __future__ import annotations

import base64
import math
import struct
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from models_registry.errors import MalformedReply

# Numbers as the log keeps them: their name, and struct's letter for one of them.
FORMATS = {"float32": "f", "float64": "d"}

Vector = tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Texts:
    """What a model is asked to embed, and how many numbers each vector is to have.

    None for `dimensions` means as many as the model's vectors have. With `is_length_free` a model
    that has but one length may answer with that.
    """

    texts: tuple[str, ...]
    dimensions: int | None = None
    is_length_free: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form that the record stores."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Texts:
        """Return the texts whose `as_dict` this is."""
        return cls(**value | {"texts": tuple(value["texts"])})


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedding:
    """One vector for each text, in the order of the texts. Tokens are None where none are reported.

    Limits: all vectors have the same length; every number is finite.
    """

    vectors: tuple[Vector, ...]
    prompt_tokens: int | None = None

    def as_text(self) -> str:
        """Return the vectors as the record keeps them: exact, and a fraction of their digits.

        Shape: JSON, `{"numbers": "float32", "vectors": ["<base64>", …]}`. Each vector is what
        OpenAI's `encoding_format: base64` sends, its numbers' bytes, little-endian. Numbers that
        float32 would round make it "float64".
        """
        name, vectors = next(
            (name, packed)
            for name, letter in FORMATS.items()
            if (packed := _packed(self.vectors, letter)) is not None
        )
        encoded = [base64.b64encode(vector).decode() for vector in vectors]
        return orjson.dumps({"numbers": name, "vectors": encoded}).decode()

    @classmethod
    def from_text(cls, text: str) -> Embedding:
        """Return the embedding whose `as_text` this is, without its tokens."""
        value = orjson.loads(text)
        letter = FORMATS[value["numbers"]]
        return cls(
            vectors=tuple(
                _unpacked(base64.b64decode(vector), letter) for vector in value["vectors"]
            )
        )

    def checked(self, texts: Texts) -> Embedding:
        """Return this embedding if it is one of these texts.

        Raises:
            MalformedReply: it has another number of vectors, or they have another length.
        """
        if len(self.vectors) != len(texts.texts):
            raise MalformedReply(
                f"The model server was given {len(texts.texts)} texts and answered with "
                f"{len(self.vectors)} vectors."
            )
        lengths = {len(vector) for vector in self.vectors}
        if len(lengths) != 1:
            raise MalformedReply("The model server's vectors are not of one length.")
        (length,) = lengths
        if texts.dimensions not in (None, length) and not texts.is_length_free:
            raise MalformedReply(
                f"The model's vectors have {length} numbers; {texts.dimensions} were asked for."
            )
        return self


def as_vector(value: Any) -> Vector:
    """Return a list of numbers as a vector.

    Raises:
        TypeError, ValueError: it is none.
    """
    if not isinstance(value, list) or not value or not {int, float}.issuperset(map(type, value)):
        raise TypeError("not a vector")
    try:
        vector = tuple(map(float, value))
    except OverflowError as exc:
        raise ValueError("a number beyond all floats") from exc
    if not all(map(math.isfinite, vector)):
        raise ValueError("not a number")
    return vector


def _packed(vectors: tuple[Vector, ...], letter: str) -> list[bytes] | None:
    """Return the bytes of each vector, or None where the numbers do not fit into this format."""
    packed = []
    for vector in vectors:
        try:
            data = struct.pack(f"<{len(vector)}{letter}", *vector)
        except OverflowError:
            return None
        if _unpacked(data, letter) != vector:
            return None
        packed.append(data)
    return packed


def _unpacked(data: bytes, letter: str) -> Vector:
    count = len(data) // struct.calcsize(f"<{letter}")
    return struct.unpack(f"<{count}{letter}", data)
