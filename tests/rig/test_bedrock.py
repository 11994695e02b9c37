"""The stand-in for Bedrock: its signatures are AWS's, its frames are what AWS's library reads."""

import json

import requests
from botocore.eventstream import EventStreamBuffer

from tests.rig.backend import TEXT
from tests.rig.bedrock import SECRET_KEY, BedrockStandIn, event, exception, signature_of

ASKED = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}


def ask(bedrock, model_id="nova", action="converse", **headers):
    headers = {"Authorization": "Bearer good", **headers}
    return requests.post(
        f"{bedrock.url}/model/{model_id}/{action}", json=ASKED, headers=headers, timeout=10
    )


class TestSignatureOf:
    def test_is_that_of_awss_example(self):
        """The case "get-vanilla" of AWS's test suite for Signature Version 4."""
        signature = signature_of(
            secret=SECRET_KEY,
            scope="20150830/us-east-1/service/aws4_request",
            at="20150830T123600Z",
            method="GET",
            path="/",
            query="",
            headers={"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"},
            signed="host;x-amz-date",
            body=b"",
        )

        assert signature == "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"


class TestFrames:
    def test_are_read_by_awss_library(self):
        buffer = EventStreamBuffer()
        buffer.add_data(event("messageStop", {"stopReason": "end_turn"}))
        buffer.add_data(exception("throttlingException", "slow down"))

        stop, failure = buffer

        assert stop.headers[":event-type"] == "messageStop"
        assert json.loads(stop.payload) == {"stopReason": "end_turn"}
        assert failure.headers[":message-type"] == "exception"
        assert failure.headers[":exception-type"] == "throttlingException"


class TestBedrockStandIn:
    def test_believes_a_bedrock_api_key(self, bedrock):
        answer = ask(bedrock).json()

        assert answer["output"]["message"]["content"] == [{"text": TEXT}]

    def test_refuses_everybody_else(self, bedrock):
        for given in ("Bearer bad", "", "AWS4-HMAC-SHA256 nonsense"):
            assert ask(bedrock, Authorization=given).status_code == 403

    def test_streams_frames(self, bedrock):
        buffer = EventStreamBuffer()
        buffer.add_data(ask(bedrock, action="converse-stream").content)

        names = [message.headers[":event-type"] for message in buffer]
        assert (names[0], names[-2:]) == ("messageStart", ["messageStop", "metadata"])

    def test_knows_no_other_operation(self):
        bedrock = BedrockStandIn(bearers=("good",))
        assert ask(bedrock, action="invoke").status_code == 404
        bedrock.close()
