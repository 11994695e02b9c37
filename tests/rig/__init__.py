"""The test rig: real parts, or our own stand-ins for what lives outside the house.

    gitlab.py     a GitLab that publishes keys and signs tokens, and can be down, slow or wrong
    backend.py    an OpenAI-compatible model server with scripted answers and faults
    llama.py      a real llama.cpp server with a tiny model whose answers are known
    services.py   real Redis and PostgreSQL servers, and where Chromium is
    gateway.py    the product itself, as processes

Everything listens on 127.0.0.1 or on a unix socket and ends with the test that started it.
"""
