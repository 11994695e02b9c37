"""Promises of gateway/audit/causes.py."""

import pytest

from gateway.api.errors import STATUS
from gateway.audit.causes import (
    CALLER,
    CAUSES,
    CONFIGURATION,
    ENCLAVE,
    MODEL_SERVER,
    POLICY,
    owner,
)

# Codes that a caller may be told of and that no record holds.
TOLD_ONLY = {"cancelled", "stream_broken"}


class TestCauses:
    def test_explains_every_code_that_the_api_knows(self):
        assert STATUS.keys() - TOLD_ONLY <= CAUSES.keys()

    def test_explains_each_in_one_sentence(self):
        unfinished = {code for code, cause in CAUSES.items() if not cause.endswith(".")}

        assert unfinished == set()
        assert CAUSES["backend_auth"] == "The model server refused our API key."


class TestOwner:
    @pytest.mark.parametrize(
        ("code", "side"),
        [
            ("feature_disabled", POLICY),
            ("no_model_assigned", POLICY),
            ("missing_input", CALLER),
            ("prompt_not_found", ENCLAVE),
            ("backend_failed", MODEL_SERVER),
            ("backend_tls", MODEL_SERVER),
            ("backend_auth", CONFIGURATION),
            ("egress_denied", CONFIGURATION),
            ("context_too_long", CALLER),
            ("worker_lost", ENCLAVE),
            ("client_left", CALLER),
            ("reply_lost", ENCLAVE),
            ("of a newer Enclave", ENCLAVE),
        ],
    )
    def test_is_the_side_that_can_mend_it(self, code, side):
        assert owner(code) == side

    def test_there_is_one_for_every_code(self):
        sides = {CALLER, POLICY, CONFIGURATION, MODEL_SERVER, ENCLAVE}

        assert {owner(code) for code in CAUSES} == sides
