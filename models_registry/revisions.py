"""Model revisions by id, cached for the life of the process: a revision never changes."""

from __future__ import annotations

from functools import lru_cache

from django.db import close_old_connections, connection

from models_registry.errors import ModelMisconfigured
from models_registry.models import ModelRevision
from models_registry.providers.types import ModelConfig


@lru_cache(maxsize=10_000)
def get(revision_id: int) -> ModelConfig:
    """Return the revision; one query the first time.

    Raises:
        ModelMisconfigured: it is gone, or its key cannot be decrypted.
    """
    try:
        return ModelRevision.objects.get(pk=revision_id).as_config()
    except ModelRevision.DoesNotExist:
        raise ModelMisconfigured("The model's revision is gone from the registry.") from None
    finally:
        # A worker's greenlet asks once and never again: it must not keep a connection.
        if not connection.in_atomic_block:
            close_old_connections()
