"""Promises of gateway/frames.py."""

import pytest

from gateway.errors import WorkerLost
from gateway.frames import Broken, Chunk, End, Quiet, pack, unpack
from gateway.ids import new_id
from models_registry.providers.types import ToolCall


class TestPack:
    def test_keeps_every_frame_and_whose_it_is(self):
        first, second = new_id(), new_id()
        call = ToolCall(id="call_1", name="lookup", arguments='{"a": "ü"}')
        frames = [
            (first, Chunk(number=0, last=2, text="a\u2028ü\x00")),
            (second, End(number=1, state="answered", text="x", prompt_tokens=3)),
            (first, End(state="failed", error_code="backend_auth", backend_status=401)),
            (second, End(state="answered", tool_calls=(call, call))),
        ]

        assert unpack(pack(frames)) == frames

    @pytest.mark.parametrize("frame", [Broken(error=WorkerLost()), Quiet()])
    def test_refuses_what_only_the_web_process_can_know(self, frame):
        with pytest.raises(TypeError):
            pack([(new_id(), frame)])
