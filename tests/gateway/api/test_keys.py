"""Promises of gateway/api/keys.py: GitLab's keys are fetched seldom and survive what it does."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gateway.api import keys
from gateway.api.keys import KeySets, NoKeys, NoSigningKey
from tests.rig.gitlab import DISCOVERY, JWKS, FakeGitLab, encode, public_jwk, rsa_key

KID = public_jwk("gitlab-1")["kid"]


class Site:
    """A web server of fixed pages; what it has no page for is a 404."""

    def __init__(self, certificate=None):
        self.pages = {}
        self.requests = Counter()
        handler = type("Handler", (_Handler,), {"site": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def publish(self, *jwks, at="", jwks_uri=None):
        """Serve a discovery document and a key set below `at`."""
        uri = jwks_uri or f"{self.url}{at}{JWKS}"
        self.pages[at + DISCOVERY] = json.dumps({"jwks_uri": uri}).encode()
        self.pages[at + JWKS] = json.dumps({"keys": list(jwks)}).encode()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.site.requests[self.path] += 1
        body = self.site.pages.get(self.path)
        self.send_response(404 if body is None else 200)
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format, *args):
        pass


@pytest.fixture
def site():
    site = Site()
    yield site
    site.close()


@pytest.fixture
def https_site(tmp_path, settings):
    """A site behind TLS whose authority GATEWAY_CA_BUNDLE names."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "site.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    settings.GATEWAY_CA_BUNDLE = str(path)
    site = Site(certificate=path)
    yield site
    site.close()


@pytest.fixture
def impatient(settings, monkeypatch):
    """A cool-down of a fifth of a second, after which keys are renewed."""
    settings.GATEWAY_JWKS_REFETCH_S = 0.2
    monkeypatch.setattr(keys, "FIRST_RETRY_S", 0.2)
    monkeypatch.setattr(keys, "FETCH_TIMEOUT_S", 1.0)
    monkeypatch.setattr(keys, "RENEW_SHARE", 0)


def sets(*providers):
    return KeySets(tuple(provider.url for provider in providers))


def numbers(found):
    return [key.public_numbers() for key in found]


def numbers_of(*names):
    return [rsa_key(name).public_key().public_numbers() for name in names]


class TestDiscovery:
    def test_finds_the_key_that_a_token_names(self, gitlab):
        assert numbers(sets(gitlab).candidates(KID)) == numbers_of("gitlab-1")

    def test_offers_every_key_to_a_token_that_names_none(self, gitlab):
        gitlab.rotate()

        found = sets(gitlab).candidates(None)

        assert numbers(found) == numbers_of("gitlab-1", "gitlab-2")

    def test_keeps_the_path_of_a_gitlab_that_has_one(self, site):
        site.publish(public_jwk("gitlab-1"), at="/gitlab")

        found = KeySets((f"{site.url}/gitlab/",)).candidates(KID)

        assert numbers(found) == numbers_of("gitlab-1")

    def test_asks_once_however_many_tokens_come(self, gitlab):
        held = sets(gitlab)

        for _ in range(50):
            held.candidates(KID)

        assert gitlab.requests == {DISCOVERY: 1, JWKS: 1}

    def test_asks_once_for_thirty_requests_at_the_same_time(self, gitlab):
        held, found = sets(gitlab), []

        at_once(30, lambda: found.append(held.candidates(KID)))

        assert [len(keys) for keys in found] == [1] * 30
        assert gitlab.requests == {DISCOVERY: 1, JWKS: 1}

    def test_keeps_nobody_waiting_twice_for_a_gitlab_that_hangs(self, gitlab, impatient):
        gitlab.fail("slow")
        held, failures = sets(gitlab), []

        def ask():
            with pytest.raises(NoKeys):
                held.candidates(KID)
            failures.append(time.monotonic())

        started_at = time.monotonic()
        at_once(10, ask)

        assert len(failures) == 10
        assert max(failures) - started_at < 3
        assert gitlab.requests.total() == 1

    def test_reaches_a_gitlab_behind_tls_of_the_house(self, https_site):
        https_site.publish(public_jwk("gitlab-1"))

        assert len(sets(https_site).candidates(KID)) == 1


class TestRotation:
    def test_a_new_key_is_fetched_when_a_token_names_it(self, gitlab, impatient):
        held = sets(gitlab)
        held.candidates(KID)
        gitlab.rotate()
        time.sleep(0.25)

        found = held.candidates(public_jwk("gitlab-2")["kid"])

        assert numbers(found) == numbers_of("gitlab-2")
        assert gitlab.requests[JWKS] == 2

    def test_a_key_that_is_published_no_more_is_forgotten(self, gitlab, impatient):
        held = sets(gitlab)
        held.candidates(KID)
        gitlab.rotate(forget_old=True)
        time.sleep(0.25)
        held.candidates(public_jwk("gitlab-2")["kid"])

        assert held.candidates(KID) == []

    def test_unknown_names_fetch_once_for_each_cool_down(self, gitlab):
        held = sets(gitlab)
        held.candidates(KID)

        found = [held.candidates(f"unknown-{number}") for number in range(20)]

        assert found == [[]] * 20
        assert gitlab.requests[JWKS] <= 2

    def test_unknown_names_are_refused_at_once_within_the_cool_down(self, gitlab):
        held = sets(gitlab)
        held.candidates(KID)
        gitlab.fail("slow")
        started_at = time.monotonic()

        found = held.candidates("unknown")

        assert found == []
        assert time.monotonic() - started_at < 0.5


class TestOutage:
    @pytest.mark.parametrize(
        "fault", ["down", "error", "garbage", "redirect", "no_keys", "huge", "slow"]
    )
    def test_the_last_good_keys_go_on(self, gitlab, impatient, fault):
        held = sets(gitlab)
        held.candidates(KID)
        gitlab.fail(fault)
        time.sleep(0.25)
        held.candidates("unknown")

        assert numbers(held.candidates(KID)) == numbers_of("gitlab-1")

    def test_a_known_key_never_waits_for_a_gitlab_that_hangs(self, gitlab, impatient):
        held = sets(gitlab)
        held.candidates(KID)
        gitlab.fail("slow")
        time.sleep(0.25)
        started_at = time.monotonic()

        found = held.candidates(KID)

        assert len(found) == 1
        assert time.monotonic() - started_at < 0.5
        eventually(lambda: gitlab.requests[DISCOVERY] == 2)

    def test_old_keys_are_fetched_anew_beside_the_requests(self, gitlab, impatient):
        held = sets(gitlab)
        held.candidates(KID)
        gitlab.rotate()
        time.sleep(0.25)

        held.candidates(KID)

        eventually(lambda: len(held.candidates(None)) == 2)

    def test_keys_that_could_not_be_renewed_for_too_long_are_believed_no_more(
        self, gitlab, impatient, settings
    ):
        settings.GATEWAY_JWKS_STALE_S = 0.3
        held = sets(gitlab)
        held.candidates(KID)
        gitlab.fail("down")
        time.sleep(0.4)

        with pytest.raises(NoKeys):
            held.candidates(KID)

    def test_a_gitlab_that_comes_back_is_believed_again(self, gitlab, impatient, settings):
        settings.GATEWAY_JWKS_STALE_S = 0.3
        held = sets(gitlab)
        held.candidates(KID)
        gitlab.fail("down")
        time.sleep(0.4)
        with pytest.raises(NoKeys):
            held.candidates(KID)

        gitlab.recover()

        eventually(lambda: knows(held))

    def test_one_provider_s_failure_does_not_touch_another_s_keys(self, gitlab, impatient):
        portal = FakeGitLab()
        portal.fail("slow")
        held = sets(gitlab, portal)
        held.candidates(KID)
        started_at = time.monotonic()

        found = [held.candidates(KID) for _ in range(20)]

        portal.close()
        assert [len(keys) for keys in found] == [1] * 20
        assert time.monotonic() - started_at < 0.5

    def test_nothing_can_be_said_before_the_first_success(self, gitlab):
        gitlab.fail("down")

        with pytest.raises(NoKeys):
            sets(gitlab).candidates(KID)

    def test_says_why_without_an_address(self, gitlab, caplog):
        gitlab.fail("down")

        with pytest.raises(NoKeys):
            sets(gitlab).candidates(KID)

        (line,) = [record for record in caplog.records if record.message == "oidc.fetch_failed"]
        assert line.reason == "The server refused the connection. Is it running on this port?"
        assert str(gitlab.port) not in str(vars(line))


class TestKeySet:
    """What is published decides nothing that it may not decide."""

    @pytest.fixture
    def published(self, site):
        """A function that publishes these keys and returns those that are believed."""

        def publish(*jwks):
            site.publish(*jwks)
            return sorted(key.key_size for key in KeySets((site.url,)).candidates(None))

        return publish

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param({"use": "enc"}, id="made for encryption"),
            pytest.param({"kty": "oct", "k": encode(b"secret" * 8)}, id="symmetric"),
            pytest.param({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, id="another kind"),
            pytest.param({"kid": None}, id="no name"),
            pytest.param({"kid": 7}, id="a number for a name"),
            pytest.param({"n": 5}, id="a number for a modulus"),
            pytest.param({"n": ""}, id="no modulus"),
            pytest.param({"n": "!!!"}, id="no base64"),
            pytest.param({"e": encode(b"\1")}, id="exponent 1"),
            pytest.param({"d": encode(b"\1" * 256)}, id="a private half"),
        ],
    )
    def test_another_key_in_the_set_is_ignored(self, published, other):
        stranger = {**public_jwk("stranger"), **other}

        assert published(public_jwk("gitlab-1"), stranger) == [2048]

    @pytest.mark.parametrize("entry", [None, 7, "key", [], {}, {"kty": "RSA"}])
    def test_garbage_in_the_set_is_ignored(self, published, entry):
        assert published(entry, public_jwk("gitlab-1")) == [2048]

    def test_a_weak_key_is_ignored(self, published):
        weak = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505  # on purpose
        modulus = weak.public_numbers().n.to_bytes(128, "big")
        jwk = {**public_jwk("stranger"), "n": encode(modulus)}

        assert published(jwk, public_jwk("gitlab-1")) == [2048]

    def test_two_keys_of_one_name_refuse_the_set(self, published):
        poison = {**public_jwk("stranger"), "kid": KID}

        with pytest.raises(NoKeys):
            published(public_jwk("gitlab-1"), poison)

    def test_the_same_key_twice_is_one_key(self, published):
        assert published(public_jwk("gitlab-1"), public_jwk("gitlab-1")) == [2048]

    def test_a_set_of_a_hundred_and_one_keys_is_refused(self, published):
        many = [{**public_jwk("stranger"), "kid": f"key {number}"} for number in range(101)]

        with pytest.raises(NoKeys):
            published(*many)

    @pytest.mark.parametrize(
        "discovery",
        [b"[]", b"{}", b"null", b'{"jwks_uri": 7}', b'{"jwks_uri": "file:///etc/passwd"}', b"\xff"],
    )
    def test_a_discovery_document_that_is_none_is_refused(self, site, discovery):
        site.publish(public_jwk("gitlab-1"))
        site.pages[DISCOVERY] = discovery

        with pytest.raises(NoKeys):
            KeySets((site.url,)).candidates(KID)

    @pytest.mark.parametrize("key_set", [b"[]", b"null", b'{"keys": {}}', b'{"keys": []}'])
    def test_a_key_set_that_is_none_is_refused(self, site, key_set):
        site.publish(public_jwk("gitlab-1"))
        site.pages[JWKS] = key_set

        with pytest.raises(NoKeys):
            KeySets((site.url,)).candidates(KID)

    def test_a_poisoned_set_leaves_the_last_good_one_in_place(self, site, impatient):
        site.publish(public_jwk("gitlab-1"))
        held = KeySets((site.url,))
        held.candidates(KID)
        site.publish(public_jwk("gitlab-1"), {**public_jwk("stranger"), "kid": KID})
        time.sleep(0.25)
        held.candidates("unknown")

        assert numbers(held.candidates(KID)) == numbers_of("gitlab-1")

    def test_a_provider_behind_tls_may_not_name_a_set_in_the_clear(self, https_site, site):
        site.publish(public_jwk("gitlab-1"))
        https_site.publish(jwks_uri=site.url + JWKS)

        with pytest.raises(NoKeys):
            sets(https_site).candidates(KID)

        assert https_site.requests[DISCOVERY] == 1
        assert not site.requests

    def test_an_address_that_may_not_be_reached_is_not_asked(self, site, settings):
        site.publish(public_jwk("gitlab-1"), jwks_uri="http://169.254.169.254/keys")

        with pytest.raises(NoKeys):
            sets(site).candidates(KID)


class TestProviderKeys:
    def test_are_gitlab_s_and_those_of_other_issuers(self, gitlab, settings):
        portal = FakeGitLab()
        portal.rotate(forget_old=True)
        settings.GATEWAY_GITLAB_URL = gitlab.url
        settings.GATEWAY_OIDC_URLS = [portal.url]

        found = keys.provider_keys().candidates(None)

        portal.close()
        assert numbers(found) == numbers_of("gitlab-1", "gitlab-2")

    def test_are_none_where_no_gitlab_is_named(self, settings):
        settings.GATEWAY_GITLAB_URL = ""

        with pytest.raises(NoKeys):
            keys.provider_keys().candidates(KID)


class TestSigningKey:
    def test_is_read_from_the_file(self, signing_key):
        assert keys.signing_key().public_key() == rsa_key(signing_key).public_key()

    def test_is_missing_where_no_file_is_named(self, settings):
        settings.GATEWAY_SIGNING_KEY_FILE = ""

        with pytest.raises(NoSigningKey, match="is not set"):
            keys.signing_key()

    @pytest.mark.parametrize(
        "content",
        [b"", b"no key", b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"],
    )
    def test_is_missing_where_the_file_holds_none(self, settings, tmp_path, content):
        path = tmp_path / "key.pem"
        path.write_bytes(content)
        settings.GATEWAY_SIGNING_KEY_FILE = str(path)

        with pytest.raises(NoSigningKey, match="no readable private key"):
            keys.signing_key()

    def test_is_missing_where_the_key_is_of_another_kind(self, settings, tmp_path):
        path = tmp_path / "key.pem"
        path.write_bytes(
            ec.generate_private_key(ec.SECP256R1()).private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            )
        )
        settings.GATEWAY_SIGNING_KEY_FILE = str(path)

        with pytest.raises(NoSigningKey, match="no RSA key"):
            keys.signing_key()


def knows(held):
    try:
        return bool(held.candidates(KID))
    except NoKeys:
        return False


def at_once(count, target):
    """Run a function in this many threads and wait for all."""
    threads = [threading.Thread(target=target) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)


def eventually(condition, within_s=3):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
