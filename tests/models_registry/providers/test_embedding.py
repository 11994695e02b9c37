"""Promises of models_registry/providers/embedding.py: vectors are exact and fit their texts."""

from __future__ import annotations

import base64
import json
import struct

import pytest

from models_registry.errors import MalformedReply
from models_registry.providers.embedding import Embedding, Texts, as_vector

HALVES = ((0.5, -0.25, 0.0), (1.0, -1.0, 3.0))
# What float32 would round.
TENTHS = ((0.1, 0.2), (0.3, -1e-300))
# What a server of today sends: float32 numbers, written as doubles.
WRITTEN = ((0.37796446681022644, 0.7559289336204529),)


class TestTexts:
    @pytest.mark.parametrize(
        "texts",
        [
            Texts(texts=("a", "")),
            Texts(texts=("a\0b",), dimensions=256, is_length_free=True),
        ],
    )
    def test_come_back_from_the_record_as_they_were(self, texts):
        assert Texts.from_dict(json.loads(json.dumps(texts.as_dict()))) == texts


class TestAsText:
    @pytest.mark.parametrize(
        ("vectors", "numbers"),
        [
            (HALVES, "float32"),
            (WRITTEN, "float32"),
            (TENTHS, "float64"),
            (((0.5,), (0.1,)), "float64"),
            (((1e300,),), "float64"),
            (((5e-324, -0.0),), "float64"),
        ],
    )
    def test_keeps_every_number_exactly(self, vectors, numbers):
        text = Embedding(vectors=vectors).as_text()

        assert json.loads(text)["numbers"] == numbers
        assert Embedding.from_text(text).vectors == vectors

    def test_writes_a_vector_as_openai_does_in_base64(self):
        first, _ = json.loads(Embedding(vectors=HALVES).as_text())["vectors"]

        assert struct.unpack("<3f", base64.b64decode(first)) == HALVES[0]

    def test_is_a_fraction_of_the_digits(self):
        vector = tuple(
            struct.unpack("<512f", struct.pack("<512f", *(1 / n for n in range(1, 513))))
        )

        assert 3 * len(Embedding(vectors=(vector,)).as_text()) < len(json.dumps(vector))


class TestChecked:
    def test_returns_what_fits(self):
        embedding = Embedding(vectors=HALVES)

        assert embedding.checked(Texts(texts=("a", "b"))) is embedding
        assert embedding.checked(Texts(texts=("a", "b"), dimensions=3)) is embedding

    @pytest.mark.parametrize("count", [1, 3])
    def test_refuses_another_number_of_vectors(self, count):
        with pytest.raises(MalformedReply, match=rf"given {count} texts .* 2 vectors"):
            Embedding(vectors=HALVES).checked(Texts(texts=("a",) * count))

    def test_refuses_vectors_of_several_lengths(self):
        with pytest.raises(MalformedReply, match="one length"):
            Embedding(vectors=((1.0,), (1.0, 2.0))).checked(Texts(texts=("a", "b")))

    def test_refuses_another_length_than_was_asked_for(self):
        with pytest.raises(MalformedReply, match="have 3 numbers; 256 were asked for"):
            Embedding(vectors=HALVES).checked(Texts(texts=("a", "b"), dimensions=256))

    def test_takes_another_length_where_it_is_free(self):
        texts = Texts(texts=("a", "b"), dimensions=256, is_length_free=True)

        assert Embedding(vectors=HALVES).checked(texts).vectors == HALVES


class TestAsVector:
    @pytest.mark.parametrize("value", [[0.5, -1.0], [1, 0], [2**70]])
    def test_takes_numbers(self, value):
        assert as_vector(value) == tuple(map(float, value))

    @pytest.mark.parametrize(
        "value",
        [None, "0.5", 0.5, {}, [], [None], ["0.5"], [True], [[0.5]], [float("nan")],
         [float("inf")], [10**400]],
        ids=lambda value: str(value)[:20],
    )  # fmt: skip
    def test_refuses_what_is_none(self, value):
        with pytest.raises((TypeError, ValueError)):
            as_vector(value)
