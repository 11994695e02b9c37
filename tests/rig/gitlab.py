"""FakeGitLab: OIDC discovery, keys and tokens as a self-managed GitLab signs them, and its groups.

Source: gitlab-client.md 4.1 and 4.2 (GitLab 18.9): RS256, `kid` is the RFC 7638 thumbprint; for
the groups GitLab's REST API: "Groups", "Members", "Pagination".

    gitlab = FakeGitLab()
    gitlab.headers()                        # what GitLab sends with every call
    gitlab.token(scopes=["duo_chat"])       # a token; None removes a claim
    gitlab.named_token("expired")           # the tokens that the recordings name
    gitlab.rotate()                         # sign with a new key, publish old and new
    gitlab.fail("slow")                     # see FAULTS; `recover()` ends it
    gitlab.fail("error", times=2, at="/members")    # the next two answers to such paths only
    gitlab.add_group("payments/core", members={42: "eve"})
    gitlab.api_token                        # the token that may read groups
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import threading
import time
import uuid
from collections import Counter
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import SplitResult, parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

DISCOVERY = "/.well-known/openid-configuration"
JWKS = "/oauth/discovery/keys"
API = "/api/v4"
SERVICE = "gitlab-ai-gateway"
INSTANCE_ID = "ea8bf810-1d6f-4a6a-b4fd-93e8cbd8b57f"
USER_ID = "Vz9kYxCpbg+c7Jo7yWyyZNxX7Iw8x5mWKcNvQ2rL4tE="
SCOPES = (
    "complete_code",
    "generate_code",
    "code_suggestions",
    "duo_chat",
    "duo_classic_chat",
    "documentation_search",
    "explain_code",
    "explain_vulnerability",
    "resolve_vulnerability",
    "troubleshoot_job",
    "summarize_comments",
    "write_tests",
    "refactor_code",
    "fix_code",
    "generate_commit_message",
    "summarize_new_merge_request",
    "summarize_review",
    "review_merge_request",
    "glab_ask_git_command",
    "generate_issue_description",
    "ask_build",
    "ask_commit",
    "ask_epic",
    "ask_issue",
    "ask_merge_request",
    "ask_work_item",
    "measure_comment_temperature",
    "feature_discovery_search",
    "duo_agent_platform",
    "ai_gateway_model_provider_proxy",
    "generate_embeddings_codebase",
    "include_file_context",
    "include_snippet_context",
    "include_merge_request_context",
    "include_issue_context",
    "include_dependency_context",
    "include_local_git_context",
    "include_terminal_context",
    "include_repository_context",
    "include_directory_context",
)

FAULTS = {
    "down": "nobody listens: connections are refused",
    "slow": "every answer takes `slow_s` seconds",
    "garbage": "200 with a body that is not JSON",
    "error": "503 with a body",
    "redirect": "302 to another host",
    "no_keys": "200 with an empty key set",
    "other_keys": "the published keys are not the ones that sign",
    "huge": "a key set of 10 MB",
    "wrong": "200 with JSON of another shape",
    "endless": "a list that always has a next page",
    "limited": "429 with Retry-After",
    "blind": "the token may see no group",
}


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """Return the key of that name; made once, because making one takes a tenth of a second."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def encode(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def public_jwk(name: str) -> dict[str, str]:
    """Return the public half as a JWK; `kid` is its RFC 7638 thumbprint."""
    numbers = rsa_key(name).public_key().public_numbers()
    required = {
        "e": encode(numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8, "big")),
        "kty": "RSA",
        "n": encode(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
    }
    canonical = json.dumps(required, separators=(",", ":"), sort_keys=True).encode()
    thumbprint = encode(hashlib.sha256(canonical).digest())
    return {**required, "kid": thumbprint, "use": "sig", "alg": "RS256"}


class FakeGitLab:
    """A GitLab as far as the gateway sees one: discovery, keys and tokens."""

    def __init__(self) -> None:
        """Start listening on a free port of 127.0.0.1."""
        self.requests: Counter[str] = Counter()
        self.fault: str | None = None
        self.slow_s = 30.0
        self.key_names = ["gitlab-1"]
        self.api_token = "glpat-canary-7f3a"
        self.groups: dict[int, dict[str, Any]] = {}
        self.members: dict[int, dict[int, str]] = {}
        self.access_levels: dict[int, int] = {}
        self._fault_left: int | None = None
        self._fault_at = ""
        self._stopped = threading.Event()
        self._server = self._listen(0)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    # What it serves

    def _listen(self, port: int) -> ThreadingHTTPServer:
        handler = type("Handler", (_Handler,), {"gitlab": self})
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    def published(self) -> list[dict[str, str]]:
        """Return the key set as the present fault leaves it."""
        if self.fault == "no_keys":
            return []
        if self.fault == "other_keys":
            return [public_jwk("stranger")]
        keys = [public_jwk(name) for name in self.key_names]
        if self.fault == "huge":
            keys.append({**public_jwk("stranger"), "x": "x" * (10 * 1024 * 1024)})
        return keys

    # What a test does to it

    def rotate(self, *, forget_old: bool = False) -> None:
        """Sign with a new key from now on; the old one stays published unless forgotten."""
        self.key_names.append(f"gitlab-{len(self.key_names) + 1}")
        if forget_old:
            self.key_names = self.key_names[-1:]

    def fail(self, fault: str, *, times: int | None = None, at: str = "") -> None:
        """Begin to fail: for ever or so many times, everywhere or at paths that hold `at`."""
        if fault not in FAULTS:
            raise ValueError(f"There is no fault '{fault}'; there are: {', '.join(FAULTS)}.")
        self.recover()
        self.fault = fault
        self._fault_left, self._fault_at = times, at
        if fault == "down":
            self._server.shutdown()
            self._server.server_close()

    def recover(self) -> None:
        """Work again, on the same port."""
        if self.fault == "down":
            self._server = self._listen(self.port)
        self.fault = None

    def fault_for(self, path: str) -> str | None:
        """Return how the answer to this request fails, None if it does not."""
        if self.fault is None or self._fault_at not in path or self._fault_left == 0:
            return None
        if self._fault_left is not None:
            self._fault_left -= 1
        return self.fault

    def close(self) -> None:
        """Stop listening and let waiting handlers go."""
        self._stopped.set()
        if self.fault != "down":
            self._server.shutdown()
            self._server.server_close()

    def wait_slowly(self) -> None:
        """Hold an answer back for `slow_s`, or until the rig closes."""
        self._stopped.wait(self.slow_s)

    # Groups

    def add_group(
        self, path: str, *, gitlab_id: int | None = None, members: dict[int, str] | None = None
    ) -> int:
        """Add a group below the one that its path names; return its id."""
        pk = gitlab_id or max(self.groups, default=0) + 1
        parents = {row["full_path"]: row["id"] for row in self.groups.values()}
        self.groups[pk] = {
            "id": pk,
            "name": path.rpartition("/")[2],
            "path": path.rpartition("/")[2],
            "full_path": path,
            "parent_id": parents.get(path.rpartition("/")[0]),
            "visibility": "private",
        }
        self.members[pk] = dict(members or {})
        return pk

    def move_group(self, gitlab_id: int, path: str) -> None:
        """Give a group, and everything below it, another path."""
        old = self.groups[gitlab_id]["full_path"]
        for row in self.groups.values():
            if row["full_path"] == old or row["full_path"].startswith(f"{old}/"):
                row["full_path"] = path + row["full_path"].removeprefix(old)
        parents = {row["full_path"]: row["id"] for row in self.groups.values()}
        self.groups[gitlab_id]["parent_id"] = parents.get(path.rpartition("/")[0])

    def remove_group(self, gitlab_id: int) -> None:
        """Forget a group."""
        del self.groups[gitlab_id], self.members[gitlab_id]

    def all_members(self, gitlab_id: int) -> dict[int, str]:
        """Return the members of a group and of those above it."""
        above = self.groups[gitlab_id]["parent_id"]
        return {**(self.all_members(above) if above else {}), **self.members[gitlab_id]}

    def asked(self, part: str) -> int:
        """Return how many requests had this in their path."""
        return sum(count for path, count in self.requests.items() if part in path)

    # Tokens

    def token(
        self,
        *,
        key: str | None = None,
        kid: str | None = None,
        **claims: Any,
    ) -> str:
        """Return a token signed by this instance; a claim of None is left out."""
        name = key or self.key_names[-1]
        return jwt.encode(
            self.claims(**claims),
            rsa_key(name),
            algorithm="RS256",
            headers={"kid": kid or public_jwk(name)["kid"]},
        )

    def claims(self, *, ttl_s: int = 3600, valid_in_s: int = -5, **changes: Any) -> dict[str, Any]:
        """Return what a token says, with changes; None removes a claim."""
        now = int(time.time())
        usual = {
            "jti": str(uuid.uuid4()),
            "aud": [SERVICE, "gitlab-ai-gateway-agent"],
            "sub": INSTANCE_ID,
            "iss": self.url,
            "iat": now,
            "nbf": now + valid_in_s,
            "exp": now + ttl_s,
            "gitlab_realm": "self-managed",
            "gitlab_instance_uid": INSTANCE_ID,
            "scopes": list(SCOPES),
        }
        return {k: v for k, v in {**usual, **changes}.items() if v is not None}

    def unsigned_token(self) -> str:
        """Return a token with `alg: none`."""
        return jwt.encode(self.claims(), "", algorithm="none")

    def confused_token(self) -> str:
        """Return an HS256 token whose secret is the published RSA key (algorithm confusion)."""
        name = self.key_names[-1]
        header = {"alg": "HS256", "typ": "JWT", "kid": public_jwk(name)["kid"]}
        secret = (
            rsa_key(name).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        parts = (json.dumps(part).encode() for part in (header, self.claims()))
        signed = ".".join(encode(part) for part in parts)
        return f"{signed}.{encode(hmac.digest(secret, signed.encode(), 'sha256'))}"

    def tampered_token(self) -> str:
        """Return a token whose claims were changed after signing."""
        header, _, signature = self.token(scopes=["duo_chat"]).split(".")
        body = encode(json.dumps(self.claims()).encode())
        return f"{header}.{body}.{signature}"

    def named_token(self, name: str) -> str:
        """Return the token that a recording calls by this name."""
        if name in self._SPECIAL:
            return str(getattr(self, self._SPECIAL[name])())
        return self.token(**self._NAMED[name])

    _SPECIAL: ClassVar[dict[str, str]] = {
        "alg_none": "unsigned_token",
        "hs256_confusion": "confused_token",
        "tampered": "tampered_token",
    }
    _NAMED: ClassVar[dict[str, dict[str, Any]]] = {
        "valid": {},
        "expired": {"ttl_s": -60},
        "wrong_aud": {"aud": "gitlab-duo-workflow-service"},
        "aud_string": {"aud": SERVICE},
        "aud_list": {"aud": [SERVICE, "other"]},
        "no_aud": {"aud": None},
        "wrong_key": {"key": "stranger"},
        "unknown_kid": {"kid": "nobody-knows-this-key"},
        "future_nbf": {"valid_in_s": 7200},
        "no_exp": {"exp": None},
        "no_scopes": {"scopes": []},
        "only_duo_chat": {"scopes": ["duo_chat"]},
        "only_complete_code": {"scopes": ["complete_code"]},
        "code_suggestions_legacy": {"scopes": ["code_suggestions"]},
        "scopes_string": {"scopes": "complete_code generate_code"},
        "realm_saas": {"gitlab_realm": "saas"},
        "no_realm": {"gitlab_realm": None},
        "no_sub": {"sub": None},
        "instance_id_claim": {"gitlab_instance_id": INSTANCE_ID},
        "seat_count": {"duo_seat_count": 50},
        "other_iss": {"iss": "http://evil.example"},
        "self_iss": {"iss": SERVICE, "sub": USER_ID},
    }
    TOKEN_NAMES = (*_NAMED, *_SPECIAL)

    def headers(self, token: str | None = None, **changes: str | None) -> dict[str, str]:
        """Return the headers that GitLab sends; changes name them with underscores, None removes.

        Source: gitlab-client.md 1.2.
        """
        usual: dict[str, str | None] = {
            "Authorization": f"Bearer {token or self.token()}",
            "X-Gitlab-Authentication-Type": "oidc",
            "Content-Type": "application/json",
            "X-Gitlab-Instance-Id": INSTANCE_ID,
            "X-Gitlab-Realm": "self-managed",
            "X-Gitlab-Global-User-Id": USER_ID,
            "X-Gitlab-Host-Name": "gitlab.example.com",
            "X-Gitlab-Version": "18.9.0",
            "User-Agent": "Ruby",
        }
        usual |= {name.replace("_", "-").title(): value for name, value in changes.items()}
        return {name: value for name, value in usual.items() if value is not None}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gitlab: FakeGitLab
    fault: str | None = None

    def do_GET(self) -> None:
        gitlab = self.gitlab
        gitlab.requests[self.path] += 1
        self.fault = gitlab.fault_for(self.path)
        if self.fault == "slow":
            gitlab.wait_slowly()
        if self.fault == "error":
            return self.answer(503, b"GitLab is not available")
        if self.fault == "limited":
            return self.answer(429, b"Retry later", **{"Retry-After": "7"})
        if self.fault == "redirect":
            return self.answer(302, b"", location="http://evil.example" + self.path)
        if self.fault == "garbage":
            return self.answer(200, b"<html>this is no JSON")
        if self.fault == "wrong":
            return self.answer_json([{"id": "seven", "full_path": None}])
        if self.path == DISCOVERY:
            return self.answer_json({"issuer": gitlab.url, "jwks_uri": gitlab.url + JWKS})
        if self.path == JWKS:
            return self.answer_json({"keys": gitlab.published()})
        if self.path.startswith(API):
            return self.answer_api(urlsplit(self.path.removeprefix(API)))
        return self.answer(404, b"")

    def answer_api(self, url: SplitResult) -> None:
        gitlab = self.gitlab
        if self.headers.get("PRIVATE-TOKEN") != gitlab.api_token:
            return self.answer(401, b'{"message":"401 Unauthorized"}')
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        words = url.path.split("/")[1:]
        if words == ["groups"]:
            rows = (
                [] if self.fault == "blind" else [gitlab.groups[pk] for pk in sorted(gitlab.groups)]
            )
            return self.answer_page(rows, query)
        if words[:1] != ["groups"] or not words[1].isdigit() or int(words[1]) not in gitlab.groups:
            return self.answer(404, b'{"message":"404 Group Not Found"}')
        pk = int(words[1])
        if words[2:] == ["members"]:
            return self.answer_members(gitlab.members[pk], query)
        if words[2:] == ["members", "all"]:
            return self.answer_members(gitlab.all_members(pk), query)
        return self.answer_json(gitlab.groups[pk])

    def answer_members(self, members: dict[int, str], query: dict[str, str]) -> None:
        levels = self.gitlab.access_levels
        rows = [
            {"id": pk, "username": name, "state": "active", "access_level": levels.get(pk, 30)}
            for pk, name in members.items()
        ]
        self.answer_page(rows, query)

    def answer_page(self, rows: list[dict[str, Any]], query: dict[str, str]) -> None:
        """Answer one page, with the headers of GitLab's offset pagination."""
        page, size = int(query.get("page", 1)), min(int(query.get("per_page", 20)), 100)
        shown = rows[(page - 1) * size : page * size]
        pages = max(1, -(-len(rows) // size))
        following = str(page + 1) if page < pages or self.fault == "endless" else ""
        self.answer_json(
            shown,
            **{
                "X-Page": str(page),
                "X-Per-Page": str(size),
                "X-Next-Page": following,
                "X-Prev-Page": str(page - 1) if page > 1 else "",
                "X-Total": str(len(rows)),
                "X-Total-Pages": str(pages),
            },
        )

    def answer_json(self, value: object, **headers: str) -> None:
        self.answer(200, json.dumps(value).encode(), **headers)

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        # A gateway that gave up on us has closed the connection; that is its right.
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        # One request for each connection: nothing stays open behind a test that has ended.
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the rig counts requests instead."""
