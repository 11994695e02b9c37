"""Pages of the largest table we have, without counting it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.core.paginator import Paginator

# Never COUNT(*) the whole log: beyond this, "10,000+" tells a person as much.
COUNT_MAX = 10_000


class BoundedPaginator(Paginator[Any]):
    """A paginator that counts to COUNT_MAX and no further, and says so."""

    # Read by Unfold.
    template_name = "audit/pagination.html"

    @cached_property
    def _counted(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[: COUNT_MAX + 1].count())

    @cached_property
    def count(self) -> int:
        """Return how many rows there are, at most COUNT_MAX."""
        return min(self._counted, COUNT_MAX)

    @property
    def has_more(self) -> bool:
        """Test whether there are rows that the pages do not reach."""
        return self._counted > COUNT_MAX
