"""A real llama.cpp server with a tiny model whose answers are known beforehand.

The model is a Markov chain written as a llama: every token's embedding is a unit vector of its own,
attention and feed-forward add nothing, and the output matrix holds, for each token, the one token
that follows. So the answer depends on the last token alone, at any temperature up to 1:

    a chat                     "Hello this answer comes from a tiny local model"
    a prompt ending in <|fim_middle|>   " return left plus right"
    a chat with tools          a call of the function `lookup` with {"query": "tiny"}
    a chat that holds a cue    what SAYINGS has for it, `cue("review")` for one; of several cues
                               the last in the order of SAYINGS

Run as a program (`python -m tests.rig.llama MODEL API_KEY`) it serves until it is terminated; that
is how `LlamaServer` starts it, so that a test may also kill or freeze it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from tests.rig.processes import DidNotStart, end

CHAT_TEXT = "Hello this answer comes from a tiny local model"
FIM_TEXT = " return left plus right"
FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE = "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"
TOOL_CALL = ('<tool_call>\n{"name": "', "lookup", '", "arguments": {"', "query", '": "', "tiny")
TOOL_CALL_END = '"}}\n</tool_call>'

# What GitLab parses, said on cue. A step's thought cues the tool that is asked next; what a
# conversation comes to later stands later here.
SAYINGS = {
    "first step": (
        " I need the issue (say: reader).\nAction: issue_reader\n"
        "Action Input: Please read issue #12"
    ),
    "reader": (
        'Here it is:\n```json\n{"ResourceIdentifierType": "iid", "ResourceIdentifier": "12"}\n```'
    ),
    "second step": (
        " The manual tells (say: documentation).\nAction: gitlab_documentation\n"
        "Action Input: protected branches"
    ),
    "documentation": "Open **Settings > Repository** of the project.\n\nATTRS: CNT-IDX-1",
    "final step": " That is enough.\nFinal Answer: Protect **main** first, then merge !7.",
    "review": (
        "I found one fault.\n\n<review>\n"
        '<comment file="app.py" old_line="" new_line="1">\nTwo is too few.\n'
        "<from>\nx = 2\n</from>\n<to>\nx = 3\n</to>\n</comment>\n</review>"
    ),
    "resolution": (
        "<analysis>\nThe name goes into the query unchecked.\n</analysis>\n"
        "<is_false_positive>false</is_false_positive>\n"
        "<summary>\nPasses it as a parameter.\n</summary>\n<fixed_code>\n"
        '<old_code>\ndb.run("SELECT " + name)\n</old_code>\n'
        '<new_code>\ndb.run("SELECT ?", name)\n</new_code>\n</fixed_code>'
    ),
    "generation": "<new_code>\ndef double(value):\n    return value * 2\n</new_code>",
}
PIECE_LENGTH = 12

END_OF_TEXT, TURN_START, TURN_END, TOOL_TURN = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|tool|>",
)
CONTROL = (
    END_OF_TEXT,
    TURN_START,
    TURN_END,
    TOOL_TURN,
    FIM_PREFIX,
    FIM_SUFFIX,
    FIM_MIDDLE,
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    *(f"<|say {name}|>" for name in SAYINGS),
)
CHAT_TEMPLATE = (
    f"{{%- set sayings = {json.dumps(list(SAYINGS))} %}}"
    "{%- set found = namespace(cue='') %}"
    "{%- for name in sayings %}{% for message in messages %}"
    "{% if '(say: ' ~ name ~ ')' in (message.content or '') %}"
    "{% set found.cue = '<|say ' ~ name ~ '|>' %}{% endif %}{% endfor %}{% endfor %}"
    "{%- if tools %}<|im_start|>system\n"
    "You may call these functions:\n<tools>\n"
    "{%- for tool in tools %}\n{{ tool | tojson }}{% endfor %}\n</tools>\n"
    "Answer with <tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\n'
    "</tool_call><|im_end|>\n{% endif %}"
    "{%- for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content or '' }}"
    "{%- for call in message.tool_calls or [] %}\n<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n'
    "</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if tools and messages[-1].role == 'user' %}<|tool|>{% else %}{{ found.cue }}{% endif %}"
    "{% endif %}"
)
CONTEXT_TOKENS = 8192
WIDTH, HEADS = 576, 6


def byte_letters() -> list[str]:
    """Return the printable letter that stands for each byte in a byte-level vocabulary.

    Source: the GPT-2 tokenizer: printable Latin-1 stands for itself, the rest follows from 256 on.
    """
    itself = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in itself)
    shifted = {byte: 256 + position for position, byte in enumerate(others)}
    return [chr(shifted.get(byte, byte)) for byte in range(256)]


def in_letters(text: str) -> str:
    """Return text as the vocabulary spells it."""
    letters = byte_letters()
    return "".join(letters[byte] for byte in text.encode())


def as_words(text: str) -> list[str]:
    """Return a sentence as one token for each word, blanks in front."""
    words = text.split(" ")
    return [in_letters(words[0]), *(in_letters(f" {word}") for word in words[1:])]


def cue(name: str) -> str:
    """Return the words in a prompt that make the model say `SAYINGS[name]`."""
    if name not in SAYINGS:
        raise ValueError(f"There is no saying '{name}'; there are: {', '.join(SAYINGS)}.")
    return f"(say: {name})"


def as_pieces(text: str, taken: set[str]) -> list[str]:
    """Return a text as tokens of a few letters that no other chain has; `taken` grows by them."""
    pieces: list[str] = []
    rest = text
    while rest:
        length = PIECE_LENGTH
        while in_letters(rest[:length]) in taken and length < len(rest):
            length += 1
        if len(rest) - length < PIECE_LENGTH:
            length = len(rest)
        pieces.append(in_letters(rest[:length]))
        taken.add(pieces[-1])
        rest = rest[length:]
    return pieces


def write_model(path: Path) -> None:
    """Write the model: about 10 MB, the same bytes every time."""
    # Both are needed here only, and importing them takes a quarter of a second.
    import gguf
    import numpy as np

    chat = as_words(CHAT_TEXT)
    fim = [word for word in as_words(FIM_TEXT) if word]
    tool = [in_letters(part) for part in (*TOOL_CALL, TOOL_CALL_END)]
    taken = {*byte_letters(), "in", *chat, *fim, *tool}
    sayings = {name: as_pieces(said, taken) for name, said in SAYINGS.items()}
    said = [piece for pieces in sayings.values() for piece in pieces]
    # The writer drops an empty list of merges and llama.cpp refuses a file without one: "in".
    text = list(dict.fromkeys([*byte_letters(), "in", *chat, *fim, *tool, *said]))
    vocabulary = [*text, *CONTROL]
    number = {token: position for position, token in enumerate(vocabulary)}

    embedding = np.eye(len(vocabulary), WIDTH, dtype=np.float32)
    follows = np.zeros_like(embedding)
    for token in text:
        follows[number[chat[0]], number[token]] = 1.0
    for chain in (
        [*chat, TURN_END],
        [FIM_MIDDLE, *fim, END_OF_TEXT],
        [TOOL_TURN, *tool, TURN_END],
        *([f"<|say {name}|>", *pieces, TURN_END] for name, pieces in sayings.items()),
    ):
        for token, successor in pairwise(chain):
            follows[:, number[token]] = 0.0
            follows[number[successor], number[token]] = 1.0

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(WIDTH)
    writer.add_block_count(1)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(vocabulary))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary)
    writer.add_token_types(
        [gguf.TokenType.NORMAL] * len(text) + [gguf.TokenType.CONTROL] * len(CONTROL)
    )
    writer.add_token_merges(["i n"])
    writer.add_add_bos_token(False)
    writer.add_bos_token_id(number[END_OF_TEXT])
    writer.add_eos_token_id(number[TURN_END])
    writer.add_eot_token_id(number[TURN_END])
    for role, token in (
        ("fim_pre", FIM_PREFIX),
        ("fim_suf", FIM_SUFFIX),
        ("fim_mid", FIM_MIDDLE),
        ("fim_pad", "<|fim_pad|>"),
        ("fim_rep", "<|repo_name|>"),
        ("fim_sep", "<|file_sep|>"),
    ):
        writer.add_uint32(f"tokenizer.ggml.{role}_token_id", number[token])
    writer.add_chat_template(CHAT_TEMPLATE)

    ones = np.ones(WIDTH, dtype=np.float32)
    nothing = np.zeros((WIDTH, WIDTH), dtype=np.float32)
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", ones)
    writer.add_tensor("output.weight", follows)
    writer.add_tensor("blk.0.attn_norm.weight", ones)
    writer.add_tensor("blk.0.ffn_norm.weight", ones)
    for layer in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{layer}.weight", nothing)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class LlamaServer:
    """A running llama.cpp server: `.endpoint` ends in /v1, and it wants `.api_key`."""

    model = "tiny"

    def __init__(
        self, directory: Path, *, api_key: str = "llama-secret", embeds: bool = False
    ) -> None:
        """Write the model into the directory and start the server on a free port.

        A server that embeds does nothing else, as with llama-server's `--embeddings`.
        """
        self.api_key = api_key
        self.log_path = directory / "llama.log"
        path = directory / "tiny.gguf"
        if not path.exists():
            write_model(path)
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.rig.llama", str(path), api_key),
                    *(["--embeddings"] if embeds else []),
                ],
                cwd=Path(__file__).resolve().parents[2],
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self.url = self._read_address()
        self.endpoint = f"{self.url}/v1"

    def _read_address(self) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(b"listening "):
                return line.split()[1].decode()
        end(self.process)
        raise DidNotStart(f"llama.cpp: {self.log_path.read_text()[-2000:]}")

    def kill(self) -> None:
        """Kill the server, as a crash would."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        """Freeze the server: connections are accepted, nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Let a frozen server go on."""
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End the server."""
        end(self.process)


def _parameters(path: str, api_key: str) -> Iterator[tuple[str, object]]:
    yield "model_alias", {LlamaServer.model}
    yield "hostnames", ["127.0.0.1"]
    yield "port", 0
    yield "api_keys", [api_key]
    yield "n_ctx", CONTEXT_TOKENS * 4
    yield "n_parallel", 4
    yield "n_gpu_layers", 0
    yield "n_threads_http", 8
    yield "warmup", False
    yield "use_jinja", True
    yield "verbosity", -1


def serve(path: str, api_key: str, *flags: str) -> None:
    """Serve the model until this process is told to end."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    if "--embeddings" in flags:
        parameters.embedding = True
        parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    for name, value in _parameters(path, api_key):
        setattr(parameters, name, value)
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(parameters)
    sys.stdout.write(f"listening {server.listening_address}\n")
    sys.stdout.flush()
    told_to_end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told_to_end.set())
    parent = os.getppid()
    # The tests that started us may be killed: do not outlive them.
    while not told_to_end.wait(0.2) and os.getppid() == parent:
        pass
    del server


if __name__ == "__main__":
    serve(*sys.argv[1:])
