"""Where a source's query comes from: its class, or only its visual embedding."""

from typing import Optional, Tuple

import torch
from torch import Tensor, nn


class ClassQueries(nn.Module):
    """One learned query a class; that of the source's class bears its picture.

    Chen et al., "iQuery: Instruments as Queries for Audio-Visual Sound Separation",
    CVPR 2023: all queries go through the decoder, the visual embedding is added to the
    one of the source's class ("visually named"), and that one makes the mask.

    Notes:
        Queries that were added to a trained model look at the trained ones and at
        themselves, and no other looks at them: what the trained classes give stays what
        it was. (The paper has no such rule; there the trained classes change a little.)

    Args:
        visual_dim: D, size of an embedding; a linear layer maps it to dim.
        dim: Width of a query.
        number: Queries, at least one for each class.
        added: Queries of classes that are added to a trained model.
    """

    hidden: Optional[Tensor]

    def __init__(self, visual_dim: int, dim: int, number: int, added: int = 0):
        super().__init__()
        if number < 1 or added < 0:
            raise ValueError(
                f"num_queries={number}, new_queries={added}: expected at least 1 and "
                "at least 0."
            )
        self.projection = nn.Linear(visual_dim, dim)
        self.base = nn.Parameter(torch.randn(number, dim))
        self.added = nn.Parameter(torch.randn(added, dim)) if added else None
        hidden = None
        if added:
            hidden = ~torch.eye(number + added, dtype=torch.bool)
            hidden[:, :number] = False
        self.register_buffer("hidden", hidden, persistent=False)

    def __len__(self) -> int:
        return len(self.base) + (0 if self.added is None else len(self.added))

    def forward(self, visual: Tensor, labels: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """Name the queries of N sources of B mixtures.

        Args:
            visual: (N, B, D).
            labels: Number of each source's class, (N, B).

        Returns:
            The learned queries and what to add to them, the projected embedding at the
            query of the source's class and zeros elsewhere, (N * B, Q, dim) each; and
            which query is the source's, (N * B,).

        Raises:
            ValueError: a number for which there is no query. On a GPU, where reading
                the numbers would wait for the device, indexing fails instead.
        """
        if labels.device.type == "cpu" and (
            labels.min() < 0 or labels.max() >= len(self)
        ):
            raise ValueError(
                f"labels are {int(labels.min())} to {int(labels.max())}, the separator "
                f"has the queries 0 to {len(self) - 1}: set separator_conf.num_queries "
                "to the number of classes at least."
            )
        queries = self.base
        if self.added is not None:
            queries = torch.cat([queries, self.added])
        labels = labels.flatten()
        numbers = torch.arange(len(self), device=labels.device)
        own = (labels[:, None] == numbers).to(visual.dtype)
        named = own[..., None] * self.projection(visual.flatten(0, 1))[:, None]
        return queries.expand_as(named), named, labels


class BuiltQueries(nn.Module):
    """A query made of what is seen: for sources whose class nobody tells, or is new.

    Ours. The projected embedding picks among the learned queries (softmax of its
    products with them), and is added to their weighted mean; the query is alone in the
    decoder.

    Args:
        visual_dim: D, size of an embedding.
        dim: Width of a query.
        number: Learned queries.
    """

    hidden = None

    def __init__(self, visual_dim: int, dim: int, number: int):
        super().__init__()
        if number < 2:
            raise ValueError(f"num_queries={number}: expected at least 2.")
        self.projection = nn.Linear(visual_dim, dim)
        # Without a bias: it would add the same to all products.
        self.pointer = nn.Linear(visual_dim, dim, bias=False)
        self.base = nn.Parameter(torch.randn(number, dim))

    def forward(
        self, visual: Tensor, labels: Optional[Tensor] = None
    ) -> Tuple[Tensor, Tensor, Tensor]:
        """Build the queries of embeddings (N, B, D); see ClassQueries.forward."""
        visual = visual.flatten(0, 1)
        scale = self.base.size(1) ** -0.5
        choice = (self.pointer(visual) @ self.base.transpose(0, 1) * scale).softmax(-1)
        query = choice @ self.base
        index = torch.zeros(len(visual), dtype=torch.long, device=visual.device)
        return query[:, None], self.projection(visual)[:, None], index
