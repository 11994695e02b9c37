"""Model revisions by id, cached for the life of the process: a revision never changes."""

from __future__ import annotations

from functools import lru_cache

from models_registry.errors import ModelMisconfigured
from models_registry.fields import CannotDecrypt
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
    except CannotDecrypt as exc:
        raise ModelMisconfigured(
            "The model's API key cannot be decrypted: GATEWAY_ENCRYPTION_KEYS changed."
        ) from exc
