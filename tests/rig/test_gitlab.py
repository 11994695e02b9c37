"""The fake GitLab is what the tests of authentication stand on: it must be right itself."""

import json

import jwt
import pytest
import requests

from tests.rig.gitlab import DISCOVERY, FAULTS, INSTANCE_ID, JWKS, SERVICE, FakeGitLab


def verify(token: str, gitlab: FakeGitLab) -> dict:
    keys = {key["kid"]: key for key in requests.get(gitlab.url + JWKS, timeout=5).json()["keys"]}
    key = jwt.PyJWK(keys[jwt.get_unverified_header(token)["kid"]])
    return jwt.decode(token, key, algorithms=["RS256"], audience=SERVICE)


class TestFakeGitLab:
    def test_publishes_where_its_keys_are(self, gitlab):
        answer = requests.get(gitlab.url + DISCOVERY, timeout=5).json()

        assert answer == {"issuer": gitlab.url, "jwks_uri": gitlab.url + JWKS}
        assert gitlab.requests == {DISCOVERY: 1}

    def test_signs_tokens_that_its_published_key_verifies(self, gitlab):
        claims = verify(gitlab.token(duo_seat_count=50, jti=None), gitlab)

        assert claims["sub"] == INSTANCE_ID
        assert claims["duo_seat_count"] == 50
        assert "jti" not in claims

    def test_signs_with_a_new_key_after_rotation(self, gitlab):
        old = gitlab.token()

        gitlab.rotate()

        assert verify(old, gitlab)["sub"] == verify(gitlab.token(), gitlab)["sub"]
        assert jwt.get_unverified_header(old) != jwt.get_unverified_header(gitlab.token())

    def test_forgets_the_old_key_when_asked(self, gitlab):
        old = gitlab.token()

        gitlab.rotate(forget_old=True)

        with pytest.raises(KeyError):
            verify(old, gitlab)

    @pytest.mark.parametrize(
        "name",
        ["expired", "wrong_aud", "no_aud", "wrong_key", "future_nbf", "tampered", "alg_none",
         "hs256_confusion", "unknown_kid"],
    )  # fmt: skip
    def test_issues_tokens_that_must_not_pass(self, gitlab, name):
        with pytest.raises((jwt.InvalidTokenError, KeyError)):
            verify(gitlab.named_token(name), gitlab)

    @pytest.mark.parametrize("name", FakeGitLab.TOKEN_NAMES)
    def test_issues_every_token_it_names(self, gitlab, name):
        assert gitlab.named_token(name).count(".") == 2

    def test_refuses_connections_while_it_is_down(self, gitlab):
        gitlab.fail("down")

        with pytest.raises(requests.ConnectionError):
            requests.get(gitlab.url + JWKS, timeout=5)

    def test_answers_again_on_the_same_port(self, gitlab):
        gitlab.fail("down")
        gitlab.recover()

        assert verify(gitlab.token(), gitlab)

    def test_serves_a_key_set_of_ten_megabytes(self, gitlab):
        gitlab.fail("huge")

        assert len(requests.get(gitlab.url + JWKS, timeout=5).content) > 10 * 1024 * 1024

    def test_serves_what_is_no_json(self, gitlab):
        gitlab.fail("garbage")

        with pytest.raises(json.JSONDecodeError):
            json.loads(requests.get(gitlab.url + JWKS, timeout=5).content)

    def test_is_slow_when_asked(self, gitlab):
        gitlab.fail("slow")

        with pytest.raises(requests.ReadTimeout):
            requests.get(gitlab.url + JWKS, timeout=0.2)

    def test_publishes_other_keys_than_it_signs_with(self, gitlab):
        gitlab.fail("other_keys")

        with pytest.raises(KeyError):
            verify(gitlab.token(), gitlab)

    def test_knows_only_the_faults_it_lists(self, gitlab):
        with pytest.raises(ValueError, match=", ".join(FAULTS)):
            gitlab.fail("tired")


class TestGroups:
    def read(self, gitlab, path, token=None):
        headers = {"PRIVATE-TOKEN": token or gitlab.api_token}
        return requests.get(f"{gitlab.url}/api/v4{path}", headers=headers, timeout=5)

    def test_come_in_pages_that_name_the_next(self, gitlab):
        for number in range(3):
            gitlab.add_group(f"team-{number}")

        answer = self.read(gitlab, "/groups?per_page=2&page=1")

        assert [row["full_path"] for row in answer.json()] == ["team-0", "team-1"]
        assert (answer.headers["X-Next-Page"], answer.headers["X-Total"]) == ("2", "3")
        assert self.read(gitlab, "/groups?per_page=2&page=2").headers["X-Next-Page"] == ""

    def test_know_their_parent_and_their_members(self, gitlab):
        top = gitlab.add_group("a", members={1: "eve"})
        child = gitlab.add_group("a/b", members={2: "adam"})

        assert self.read(gitlab, f"/groups/{child}").json()["parent_id"] == top
        direct = self.read(gitlab, f"/groups/{child}/members").json()
        assert [row["username"] for row in direct] == ["adam"]
        assert len(self.read(gitlab, f"/groups/{child}/members/all").json()) == 2

    def test_are_shown_to_the_token_only(self, gitlab):
        assert self.read(gitlab, "/groups", token="another").status_code == 401
        assert self.read(gitlab, "/groups/99").status_code == 404

    def test_fail_as_often_as_they_are_told_to(self, gitlab):
        gitlab.fail("error", times=1, at="/groups")

        assert self.read(gitlab, "/groups").status_code == 503
        assert self.read(gitlab, "/groups").status_code == 200
