"""The scripted vendor does what its scripts say."""

import pytest
import requests


def post(vendor, **options):
    return requests.post(vendor.url + "/v2/x?y=1", timeout=5, **options)


class TestScriptedVendor:
    def test_records_what_it_gets(self, vendor):
        post(vendor, data=b"raw", headers={"X-Gitlab-Realm": "self-managed"})

        (call,) = vendor.calls
        assert (call.method, call.path, call.body) == ("POST", "/ai/v2/x?y=1", b"raw")
        assert call.headers["x-gitlab-realm"] == "self-managed"

    def test_answers_whole(self, vendor):
        vendor.answer({"a": 1}, status=429, Retry_After="7")

        answer = post(vendor)

        assert (answer.status_code, answer.json()) == (429, {"a": 1})
        assert answer.headers["Retry-After"] == "7"

    def test_answers_in_pieces(self, vendor):
        vendor.stream("one", "two")

        assert list(post(vendor, stream=True).iter_content(None)) == [b"one", b"two"]

    def test_breaks_off(self, vendor):
        vendor.stream("one", then="cut")

        with pytest.raises(requests.exceptions.RequestException):
            post(vendor)

    def test_notices_a_client_that_leaves(self, vendor):
        vendor.stream("one", then="hang")

        with post(vendor, stream=True):
            pass

        vendor.wait_for_departure()
