"""What methods do with embeddings, against naive versions; the losses on them are held in their methods' files."""

from __future__ import annotations

import pickle

import torch
from torch import nn

from semisup.embeddings import embedded, two_layer_head


def test_a_head_of_two_layers_embeds_every_view_at_length_one() -> None:
    head = two_layer_head(3, nn.LeakyReLU(0.1))(5, 10)
    assert isinstance(head, nn.Sequential)
    first, _, last = head
    views = [torch.randn(rows, 5, generator=torch.Generator().manual_seed(rows)) for rows in (4, 2)]
    for x, z in zip(views, embedded(head, views), strict=True):
        hidden = x @ first.weight.T + first.bias
        expected = torch.where(hidden > 0, hidden, 0.1 * hidden) @ last.weight.T + last.bias
        torch.testing.assert_close(z, expected / expected.square().sum(1, keepdim=True).sqrt())
        assert z.shape == (len(x), 3) and z.requires_grad
    assert embedded(head.bfloat16(), [views[0].bfloat16()])[0].dtype == torch.float32


def test_a_head_is_made_anew_wherever_it_is_needed() -> None:
    """Also in another process, which is sent how to make it."""
    make = two_layer_head(3, nn.ReLU())
    sent = pickle.loads(pickle.dumps(make))
    one, other = make(5, 10), sent(5, 10)
    assert not torch.equal(one[0].weight, make(5, 10)[0].weight) and str(one) == str(other)
