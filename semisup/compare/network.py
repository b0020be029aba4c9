"""What the network of a run costs, from its checkpoint."""

from __future__ import annotations

from pathlib import Path

from semisup.classifier import Classifier
from semisup.compare.record import Network
from semisup.errors import InputError
from semisup.models.precision import operations
from semisup.runs.directory import find_checkpoint


def look_at(directory: Path) -> Network | None:
    """The network of a run, by its checkpoint; None where there is none that can be read."""
    try:
        module = Classifier.from_checkpoint(find_checkpoint(directory), finite=False).eval()
    except InputError:
        return None
    spec, network = module.spec, module.network.to("meta")  # images of the size that a file claims are not made
    count = operations(network, spec.channels, spec.image_size)
    parameters = sum(p.numel() for p in network.parameters())
    return Network(module.backbone_name, parameters, spec.channels, spec.image_size, count)
