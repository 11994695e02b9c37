"""Promises of gateway/audit/causes.py."""

from gateway.api.errors import STATUS
from gateway.audit.causes import CAUSES

# Codes that a caller may be told of and that no record holds.
TOLD_ONLY = {"cancelled", "stream_broken"}


class TestCauses:
    def test_explains_every_code_that_the_api_knows(self):
        assert STATUS.keys() - TOLD_ONLY <= CAUSES.keys()

    def test_explains_each_in_one_sentence(self):
        unfinished = {code for code, cause in CAUSES.items() if not cause.endswith(".")}

        assert unfinished == set()
        assert CAUSES["backend_auth"] == "The model server refused our API key."
