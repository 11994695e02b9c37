"""What is measured: one entry of WORKLOADS for each row of the report.

The model's name tells the stub how to answer (native/stub.c). Times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """A way to load a target.

    `seconds`: every connection asks again and again for so long (closed loop); None: every
    connection asks once, all started within `ramp`. `warm_up`: the same load before, not measured.
    """

    slug: str
    label: str
    model: str
    tokens: int
    connections: int
    is_streamed: bool = False
    seconds: float | None = None
    ramp: float = 0.0
    warm_up: float = 0.0
    is_memory_measured: bool = False
    is_for_peers: bool = True


WORKLOADS = {
    workload.slug: workload
    for workload in (
        Workload(
            slug="plain_1",
            label="plain, 1 connection",
            model="tokens-16",
            tokens=16,
            connections=1,
            seconds=3.0,
            warm_up=1.0,
        ),
        Workload(
            slug="plain_32",
            label="plain, 32 connections",
            model="tokens-16",
            tokens=16,
            connections=32,
            seconds=4.0,
            warm_up=1.0,
        ),
        Workload(
            slug="plain_128",
            label="plain, 128 connections",
            model="tokens-16",
            tokens=16,
            connections=128,
            seconds=4.0,
            warm_up=1.0,
        ),
        Workload(
            slug="busy_model",
            label="plain, 200 ms model, 64 connections",
            model="tokens-16_ttft-200ms",
            tokens=16,
            connections=64,
            seconds=4.0,
            ramp=0.2,
            warm_up=1.0,
        ),
        Workload(
            slug="stream_fast",
            label="50 streams at a time, 101 tokens 1 ms apart",
            model="tokens-101_slow-1ms",
            tokens=101,
            connections=50,
            is_streamed=True,
            seconds=4.0,
            ramp=0.1,
            warm_up=1.0,
        ),
        Workload(
            slug="stream_light",
            label="100 streams over 4 s, 50 tokens 100 ms apart",
            model="tokens-50_slow-100ms",
            tokens=50,
            connections=100,
            is_streamed=True,
            ramp=4.0,
        ),
        Workload(
            slug="stream_1000",
            label="1,000 streams over 2 s, 50 tokens 100 ms apart",
            model="tokens-50_slow-100ms",
            tokens=50,
            connections=1000,
            is_streamed=True,
            ramp=2.0,
            is_memory_measured=True,
        ),
        Workload(
            slug="stream_5000",
            label="5,000 streams over 10 s, 50 tokens 500 ms apart",
            model="tokens-50_slow-500ms",
            tokens=50,
            connections=5000,
            is_streamed=True,
            ramp=10.0,
            is_memory_measured=True,
            is_for_peers=False,
        ),
        Workload(
            slug="stream_10000",
            label="10,000 streams over 20 s, 50 tokens 1 s apart",
            model="tokens-50_slow-1000ms",
            tokens=50,
            connections=10000,
            is_streamed=True,
            ramp=20.0,
            is_memory_measured=True,
            is_for_peers=False,
        ),
    )
}


def shortened(workload: Workload) -> Workload:
    """Return the form that `--quick` runs: the same load for one second."""
    if workload.seconds is None:
        return workload
    return replace(workload, seconds=1.0, warm_up=min(workload.warm_up, 0.5))


def models() -> list[str]:
    """Return the models that the workloads need, each once."""
    return list(dict.fromkeys(workload.model for workload in WORKLOADS.values()))
