"""Pages of the largest table we have, without counting it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.core.paginator import Paginator

# Never COUNT(*) the whole log: beyond this, "10,000+" tells a person as much.
COUNT_MAX = 10_000


class BoundedPaginator(Paginator[Any]):
    """A paginator that counts to COUNT_MAX and no further."""

    @cached_property
    def count(self) -> int:
        """Return how many rows there are, at most COUNT_MAX."""
        rows: Any = self.object_list
        return int(rows.order_by()[:COUNT_MAX].count())
