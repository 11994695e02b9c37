"""Promises of gateway/api/proxy_scope.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gateway.api.errors import BadRequest, Forbidden
from gateway.api.proxy_scope import require_purpose
from gateway.calls import Caller

EMBEDDINGS = "generate_embeddings_codebase"


def require(name, *, kind="instance", scopes=(EMBEDDINGS, "duo_chat")):
    caller = Caller(kind=kind, scopes=frozenset(scopes))
    meta = {} if name is None else {"HTTP_X_GITLAB_UNIT_PRIMITIVE": name}
    return require_purpose(SimpleNamespace(META=meta, caller=caller), (EMBEDDINGS,))


class TestRequirePurpose:
    @pytest.mark.parametrize("kind", ["instance", "api_key"])
    def test_accepts_what_the_proxy_is_for(self, kind):
        scopes = () if kind == "api_key" else (EMBEDDINGS,)

        assert require(EMBEDDINGS, kind=kind, scopes=scopes) == EMBEDDINGS

    @pytest.mark.parametrize(
        ("name", "error", "words"),
        [
            (None, BadRequest, "Missing x-gitlab-unit-primitive header"),
            ("", BadRequest, "Missing x-gitlab-unit-primitive header"),
            ("zzz", BadRequest, "Unknown unit primitive header zzz"),
            ("z" * 8_000, BadRequest, f"Unknown unit primitive header {'z' * 100}"),
            ("complete_code", Forbidden, "Unauthorized to access complete_code"),
            ("duo_chat", BadRequest, "This endpoint cannot be used for duo_chat purpose"),
        ],
        ids=["missing", "empty", "unknown", "long", "forbidden", "another"],
    )
    def test_says_why_not(self, name, error, words):
        with pytest.raises(error) as refusal:
            require(name)

        assert str(refusal.value) == words
