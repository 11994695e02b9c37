"""One running Enclave for all recordings: web, worker, Redis, and scripted model servers."""

from collections.abc import Iterator

import pytest

from features import catalog
from tests.conftest import need
from tests.contract.replay import Replay
from tests.gateway.documentation.conftest import CORPUS
from tests.rig.backend import ScriptedBackend
from tests.rig.bedrock import ACCESS_KEY, REGION, SECRET_KEY, BedrockStandIn
from tests.rig.gateway import Gateway
from tests.rig.gitlab import FakeGitLab
from tests.rig.services import RedisServer


@pytest.fixture(scope="session")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    """Enclave with every feature on, models for calls that name none, and some documentation."""
    gitlab, backend, redis_server = FakeGitLab(), ScriptedBackend(), need(RedisServer)
    # The keys that the requests for Bedrock bring, and access keys for the one that brings none.
    bedrock = BedrockStandIn(bearers=("token", "key-v2comp-ident-bedrock"))
    gateway = Gateway(
        tmp_path_factory.mktemp("contract"),
        gitlab=gitlab,
        redis_server=redis_server,
        environment={
            "AWS_REGION": REGION,
            "GATEWAY_BEDROCK_ENDPOINT": bedrock.url,
            "GATEWAY_BEDROCK_KEY": f"{ACCESS_KEY}:{SECRET_KEY}",
        },
    )
    house = gateway.add_model(
        name="House model", family="codestral", endpoint=backend.endpoint, identifier="house"
    )
    gateway.switch_on(*(slug for slug, _ in catalog.choices()), model=house)
    embedding = gateway.add_model(
        name="House vectors", family="embedding", endpoint=backend.endpoint, identifier="vectors"
    )
    gateway.switch_on(catalog.EMBEDDINGS, model=embedding)
    gateway.manage("index_docs", str(CORPUS))
    yield Replay(gateway, gitlab, backend)
    gateway.discard()
    for part in (redis_server, backend, bedrock, gitlab):
        part.close()
