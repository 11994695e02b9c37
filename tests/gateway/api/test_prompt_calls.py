"""What a model reads of inputs that are no text. The routes are tested in v1 and v2."""

import json

import pytest

from gateway.api.prompt_calls import as_text


class TestAsText:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("text", "text"),
            ("", ""),
            (None, ""),
            ([], ""),
            ({}, ""),
            (7, "7"),
            (0.5, "0.5"),
            (True, "true"),
            (["django", "requests"], "django, requests"),
            (["one\nline", "two"], "one\nline\ntwo"),
            ([1, 2], "[\n  1,\n  2\n]"),
            ({"a": {"b": "é"}}, '{\n  "a": {\n    "b": "é"\n  }\n}'),
            (
                [{"id": "7", "content": "A\nB"}],
                '<document id="CNT-IDX-7">\nA\nB\n</document>',
            ),
        ],
    )
    def test_is_what_a_model_can_read(self, value, text):
        assert as_text(value) == text

    def test_writes_what_only_looks_like_documents_as_json(self):
        value = [{"id": "7", "content": "A"}, {"id": "8"}]

        assert json.loads(as_text(value)) == value
