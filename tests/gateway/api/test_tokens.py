"""Promises of gateway/api/tokens.py: whose tokens are believed, and every way of forging one."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gateway.api import keys, tokens
from gateway.api.tokens import BadToken
from gateway.audit.models import CallerKind
from gateway.calls import Caller
from tests.rig.gitlab import INSTANCE_ID, SERVICE, USER_ID, FakeGitLab, encode, public_jwk, rsa_key

NOW = int(time.time())


@pytest.fixture(autouse=True)
def _believes_gitlab(trusted):
    """Every test here has a GitLab, whose keys were fetched."""
    tokens.verify(trusted.token())


def signed(header, payload, *, key="gitlab-1"):
    """Return a token of exactly these bytes, rightly signed with RS256."""
    parts = [part if isinstance(part, bytes) else dumped(part) for part in (header, payload)]
    text = ".".join(encode(part) for part in parts)
    signature = rsa_key(key).sign(text.encode(), padding.PKCS1v15(), SHA256())
    return f"{text}.{encode(signature)}"


def dumped(value):
    """Return JSON as Python writes it: NaN and huge numbers included."""
    return json.dumps(value).encode()


def header(**changes):
    usual = {"alg": "RS256", "typ": "JWT", "kid": public_jwk("gitlab-1")["kid"]}
    return {k: v for k, v in {**usual, **changes}.items() if v is not None}


class TestVerify:
    def test_believes_what_gitlab_signed(self, trusted):
        claims = tokens.verify(trusted.token(scopes=["complete_code"]))

        assert claims["sub"] == INSTANCE_ID
        assert claims["scopes"] == ["complete_code"]

    @pytest.mark.parametrize("name", ["aud_string", "aud_list", "other_iss", "no_sub", "self_iss"])
    def test_believes_what_the_reference_believes(self, trusted, name):
        assert tokens.verify(trusted.named_token(name))

    def test_takes_a_time_with_a_fraction(self, trusted):
        assert tokens.verify(trusted.token(exp=time.time() + 60.5))

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("expired", "Signature has expired"),
            ("future_nbf", "not yet valid"),
            ("no_exp", '"exp" claim'),
            ("no_aud", '"aud" claim'),
            ("wrong_aud", "Audience doesn't match"),
            ("wrong_key", "its key is unknown"),
            ("unknown_kid", "its key is unknown"),
            ("tampered", "Signature verification failed"),
            ("alg_none", "not signed with RS256"),
            ("hs256_confusion", "not signed with RS256"),
        ],
    )
    def test_refuses_and_says_why(self, trusted, name, reason):
        with pytest.raises(BadToken, match=reason):
            tokens.verify(trusted.named_token(name))

    def test_knows_no_leeway(self, trusted):
        with pytest.raises(BadToken):
            tokens.verify(trusted.token(ttl_s=-1))

    def test_does_not_read_a_token_that_no_gitlab_would_send(self, trusted):
        with pytest.raises(BadToken, match="too long"):
            tokens.verify(trusted.token(filler="x" * tokens.TOKEN_MAX_BYTES))

    def test_refuses_a_stranger_s_key_under_a_known_name(self, trusted):
        token = trusted.token(key="stranger", kid=public_jwk("gitlab-1")["kid"])

        with pytest.raises(BadToken, match="Signature verification failed"):
            tokens.verify(token)

    def test_refuses_another_gitlab_s_tokens(self):
        other = FakeGitLab()
        other.rotate(forget_old=True)
        token = other.token()
        other.close()

        with pytest.raises(BadToken, match="its key is unknown"):
            tokens.verify(token)

    def test_says_that_gitlab_was_never_reached(self, gitlab, settings, signing_key):
        settings.GATEWAY_GITLAB_URL = "http://127.0.0.1:9"

        with pytest.raises(BadToken, match=r"no signing keys: .*GATEWAY_GITLAB_URL"):
            tokens.verify(gitlab.token())

    def test_gives_up_on_a_gitlab_that_hangs_within_the_time_out(self, gitlab, monkeypatch):
        keys._key_sets.cache_clear()
        monkeypatch.setattr(keys, "FETCH_TIMEOUT_S", 0.3)
        gitlab.fail("slow")
        started_at = time.monotonic()

        with pytest.raises(BadToken, match="no signing keys"):
            tokens.verify(gitlab.token())

        assert time.monotonic() - started_at < 2


class TestForgedHeaders:
    @pytest.mark.parametrize(
        "algorithm",
        ["none", "None", "nOnE", "NONE", "", "HS256", "HS512", "RS384", "RS512", "PS256", "ES256",
         "EdDSA", "rs256", "RS256 ", None, 256, ["RS256"], {"RS256": 1}, True],
    )  # fmt: skip
    def test_only_rs256_is_an_algorithm(self, trusted, algorithm):
        token = signed(header(alg=algorithm), trusted.claims())

        with pytest.raises(BadToken):
            tokens.verify(token)

    @pytest.mark.parametrize("signature", ["", "AA", encode(b"\0" * 256)])
    def test_an_empty_or_short_signature_is_none(self, trusted, signature):
        unsigned = trusted.token().rpartition(".")[0]

        with pytest.raises(BadToken):
            tokens.verify(f"{unsigned}.{signature}")

    @pytest.mark.parametrize("name", ["jku", "x5u"])
    def test_the_token_does_not_say_where_its_keys_are(self, trusted, name):
        thief = FakeGitLab()
        thief.key_names = ["stranger"]
        forged = header(kid=None, **{name: f"{thief.url}/oauth/discovery/keys"})
        token = signed(forged, trusted.claims(), key="stranger")

        with pytest.raises(BadToken):
            tokens.verify(token)

        thief.close()
        assert not thief.requests

    @pytest.mark.parametrize("kid", [None, public_jwk("stranger")["kid"]], ids=["unnamed", "named"])
    def test_the_token_does_not_bring_its_key(self, trusted, kid):
        brought = public_jwk("stranger")
        forged = header(kid=kid, jwk=brought, x5c=[brought["n"]])
        token = signed(forged, trusted.claims(), key="stranger")

        with pytest.raises(BadToken):
            tokens.verify(token)

    @pytest.mark.parametrize(
        "extra",
        [
            {"crit": ["exp"], "exp": 1},
            {"crit": ["unknown"], "unknown": 1},
            {"crit": []},
            {"crit": "b64"},
            {"crit": ["b64"], "b64": False},
            {"b64": False},
        ],
    )
    def test_what_is_critical_and_unknown_is_refused(self, trusted, extra):
        with pytest.raises(BadToken):
            tokens.verify(signed(header(**extra), trusted.claims()))

    @pytest.mark.parametrize(
        "kid",
        ["../../../../dev/null", "' OR 1=1 --", "http://evil.example/key", "x" * 10_000, "\0",
         "ключ", "", 7, 1.5, True, [], {}, ["a"]],
    )  # fmt: skip
    def test_a_key_s_name_is_only_looked_up(self, trusted, kid):
        with pytest.raises(BadToken):
            tokens.verify(signed(header(kid=kid), trusted.claims()))

    def test_a_token_without_a_key_s_name_is_tried_with_every_key(self, trusted):
        assert tokens.verify(signed(header(kid=None), trusted.claims()))

    @pytest.mark.parametrize(
        "token",
        [
            "",
            ".",
            "..",
            "...",
            "a.b.c",
            "not.a.jwt",
            "ÿþ.é.ü",
            "a" * 1_000_000,
            "a." * 8_000,
            "eyJhbGciOiJSUzI1NiJ9.e30.",
            f"{encode(b'[' * 9_000)}.e30.AA",
            f"{encode(b'[]')}.e30.AA",
            f"{encode(b'null')}.e30.AA",
            f"{encode(b'{')}.e30.AA",
            f"{encode(bytes([0xFF, 0xFE]))}.e30.AA",
            f'{encode(b"""{"alg": """ + b"9" * 5_000 + b"}")}.e30.AA',
            # A JWE: five parts.
            f"{encode(b'{}')}.AA.AA.AA.AA",
        ],
        ids=lambda token: token[:12],
    )
    def test_what_is_no_token_is_refused_quickly(self, token):
        started_at = time.monotonic()

        with pytest.raises(BadToken):
            tokens.verify(token)

        assert time.monotonic() - started_at < 0.5

    def test_the_last_letter_of_a_signature_has_one_spelling(self, trusted):
        token = trusted.token()
        others = {token[:-1] + letter for letter in "ABCDEFGHIJKLMNOP"} - {token}

        refused = [refuses(other) for other in others]

        assert all(refused)


class TestForgedClaims:
    """Wrongly typed claims under a right signature: refused, and never an error of ours."""

    @pytest.mark.parametrize(
        "exp",
        [float("nan"), float("inf"), float("-inf"), "soon", "", [], {}, [NOW + 60], False, 0, -1,
         -(10**400), pytest.param(NOW - 1, id="past")],
    )  # fmt: skip
    def test_an_end_that_is_none_is_refused(self, trusted, exp):
        with pytest.raises(BadToken):
            tokens.verify(signed(header(), {**trusted.claims(), "exp": exp}))

    @pytest.mark.parametrize("exp", [b"1e400", b"9" * 5_000, b"-1e400"], ids=len)
    def test_an_end_beyond_numbers_is_refused(self, trusted, exp):
        claims = dumped(trusted.claims(exp=None))[:-1] + b', "exp": ' + exp + b"}"

        with pytest.raises(BadToken):
            tokens.verify(signed(header(), claims))

    @pytest.mark.parametrize(
        "nbf",
        [pytest.param(NOW + 3600, id="future"), float("nan"), float("inf"), "later", [], {}],
    )
    def test_a_beginning_that_is_not_past_is_refused(self, trusted, nbf):
        with pytest.raises(BadToken):
            tokens.verify(signed(header(), {**trusted.claims(), "nbf": nbf}))

    @pytest.mark.parametrize(
        "aud",
        ["", [], {}, 7, True, [SERVICE, 7], [[SERVICE]], {SERVICE: 1}, f"{SERVICE}-agent",
         SERVICE[:-1], SERVICE.upper(), f" {SERVICE}", [f"{SERVICE}-agent", "other"]],
    )  # fmt: skip
    def test_the_audience_is_ours_to_the_letter(self, trusted, aud):
        with pytest.raises(BadToken):
            tokens.verify(signed(header(), {**trusted.claims(), "aud": aud}))

    @pytest.mark.parametrize(
        "payload",
        [b"", b"{", b"[]", b"null", b'"text"', b"\xff", b"[" * 9_000, b'{"exp":' * 1_500],
        ids=lambda payload: payload[:8].decode("latin-1"),
    )
    def test_claims_that_are_no_object_are_refused(self, payload):
        with pytest.raises(BadToken):
            tokens.verify(signed(header(), payload))

    @hypothesis_settings(
        max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(
        name=st.sampled_from(["exp", "nbf", "iat", "aud", "iss", "sub", "jti"]),
        value=st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(st.text(max_size=3), inner, max_size=2)
            ),
            max_leaves=4,
        ),
    )
    def test_no_claim_whatever_is_an_error_of_ours(self, trusted, name, value):
        token = signed(header(), {**trusted.claims(), name: value})

        assert refuses(token) in (True, False)


class TestReasons:
    def test_hold_nothing_of_the_token(self, trusted):
        secret = "canary-in-the-token"
        forged = [
            signed(header(crit=[secret]), trusted.claims()),
            signed(header(alg=secret), trusted.claims()),
            signed(header(kid=secret), trusted.claims()),
            trusted.token(aud=secret),
            signed(header(), secret.encode()),
            secret,
        ]

        said = [reason_of(token) for token in forged]

        assert not [reason for reason in said if secret in reason]


class TestIssueUserToken:
    CALLER = Caller(
        kind=CallerKind.INSTANCE,
        scopes=frozenset({"complete_code", "duo_chat", "ai_gateway_model_provider_proxy"}),
        realm="self-managed",
        global_user_id=USER_ID,
        claims={"duo_seat_count": 50, "gitlab_instance_uid": INSTANCE_ID, "other": "claim"},
    )

    @pytest.fixture
    def issued(self, signing_key):
        def issue(**changes):
            return tokens.issue_user_token(replace(self.CALLER, **changes))

        return issue

    def test_says_what_the_reference_says(self, issued):
        token, expires_at = issued()

        claims = claims_of(token)
        assert UUID(claims.pop("jti")).version == 4
        assert claims == {
            "iss": SERVICE,
            "sub": USER_ID,
            "aud": SERVICE,
            "exp": expires_at,
            "nbf": expires_at - 3600,
            "iat": expires_at - 3600,
            "gitlab_realm": "self-managed",
            "gitlab_instance_id": "",
            "scopes": ["complete_code", "ai_gateway_model_provider_proxy"],
            "duo_seat_count": 50,
            "gitlab_instance_uid": INSTANCE_ID,
        }

    def test_lives_for_an_hour(self, issued):
        _, expires_at = issued()

        assert abs(expires_at - time.time() - 3600) < 3

    def test_names_no_key(self, issued):
        token, _ = issued()

        assert jwt.get_unverified_header(token) == {"alg": "RS256", "typ": "JWT"}

    def test_gives_no_scope_that_the_caller_lacks(self, issued):
        token, _ = issued(scopes=frozenset({"complete_code", "duo_chat"}))

        assert claims_of(token)["scopes"] == ["complete_code"]

    def test_is_believed_and_known_as_our_own(self, issued):
        token, _ = issued()

        assert tokens.is_own(tokens.verify(token))

    def test_is_believed_while_gitlab_is_away(self, issued, gitlab):
        token, _ = issued()
        keys._key_sets.cache_clear()
        gitlab.fail("down")

        assert tokens.is_own(tokens.verify(token))

    def test_is_not_believed_after_the_key_changed(self, issued, settings):
        token, _ = issued()
        settings.GATEWAY_SIGNING_KEY_FILE = ""

        with pytest.raises(BadToken):
            tokens.verify(token)

    def test_needs_a_key(self, settings):
        settings.GATEWAY_SIGNING_KEY_FILE = ""

        with pytest.raises(keys.NoSigningKey):
            tokens.issue_user_token(self.CALLER)


def claims_of(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def refuses(token):
    """Test whether a token is refused; any other error fails the test."""
    return bool(reason_of(token))


def reason_of(token):
    """Return why a token is refused, or nothing if it is believed."""
    try:
        tokens.verify(token)
    except BadToken as exc:
        return str(exc)
    return ""
