"""Strategies that train together, as `--strategy kmeans+pseudolabel` names them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from semisup.batch import Batch, Needs, by_label
from semisup.errors import InputError, require
from semisup.strategy import LossStrategy, Outputs, Phase, Strategy, TermStrategy


class Composition:
    """Strategies that train together, in the order given: `kmeans+pseudolabel`.

    Their hooks run in this order. At most one of them owns the loss.

    Attributes:
        parts: the strategies.
        owner: the one that owns the loss, or None where none does; then it is that of the labeled images alone.
        terms: those that add a term to it.
        needs: what they need from the data together.
        evaluating_head: the module of a term that evaluates in place of the network's head; empty for none.

    Raises:
        InputError: two strategies own the loss or evaluate, or a term needs what the owner does not give; the message
            names both.
    """

    def __init__(self, parts: dict[str, Strategy]) -> None:
        self.parts = parts
        owners = {name: part for name, part in parts.items() if isinstance(part, LossStrategy)}
        if len(owners) > 1:
            raise InputError(
                f"{' and '.join(owners)} each own the loss, and only one strategy of a composition can; "
                f"type --strategy {next(iter(owners))} alone, or compare the two in separate runs"
            )
        self.owner = next(iter(owners.values()), None)
        self.terms = {name: part for name, part in parts.items() if isinstance(part, TermStrategy)}
        for name, part in parts.items():
            require(
                not part.refines or (self.owner is not None and self.owner.refinable),
                f"{name} refines targets, which {next(iter(owners), 'supervised training')} does not let others do; "
                f"compose it with a strategy that does, as in --strategy NAME+{name}",
            )
        heads = {name: term.evaluating_head for name, term in self.terms.items() if term.evaluating_head}
        require(len(heads) < 2, f"{' and '.join(heads)} each evaluate by a head of their own; type one of them")
        self.evaluating_head = next(iter(heads.values()), "")
        gives = self.owner.gives if self.owner else ("labeled", "labeled_features")
        owning = next(iter(owners), "supervised training")
        for name, term in self.terms.items():
            missing = ", ".join(output for output in term.reads if output not in gives)
            require(
                not missing,
                f"{name} adds a term that reads {missing}, which {owning} does not give; compose it with a strategy "
                f"that does, as in --strategy NAME+{name}",
            )
        self.needs = self._needs()

    @property
    def name(self) -> str:
        """The composition as typed on the command line."""
        return "+".join(self.parts)

    def phases(self, module: Any) -> list[tuple[Phase, Strategy | None]]:
        """The phases of a fit and who brings each: those of strategies without a loss first, then the training."""
        parts = [part for part in self.parts.values() if part is not self.owner]
        before = [(phase, part) for part in parts for phase in part.phases(module)]
        training = self.owner.phases(module) if self.owner else [Phase()]
        return [*before, *((phase, self.owner) for phase in training)]

    @property
    def targets_from(self) -> str:
        """Which weights make targets: training, evaluating, or, where there are no targets, empty."""
        return self.owner.targets_from if self.owner else ""

    def _needs(self) -> Needs:
        """The needs of the owner of the loss and of the terms; the others act between steps."""
        needs = self.owner.needs if self.owner else Needs()
        for name, part in self.terms.items():
            labeled, unlabeled = by_label(needs.labeled_views), by_label(needs.unlabeled_views)
            more = (by_label(part.needs.labeled_views), by_label(part.needs.unlabeled_views))
            for ours, theirs in zip((labeled, unlabeled), more, strict=True):
                other = next((label for label, view in theirs.items() if ours.get(label, view) != view), None)
                require(other is None, f"{name} needs another view as {other!r} than the strategy that owns the loss")
            twice = {*needs.modules, *needs.networks} & {*part.needs.modules, *part.needs.networks}
            require(not twice, f"{name} names a module {', '.join(twice)!r} that another strategy has; rename it")
            needs = replace(
                needs,
                labeled_views=labeled | more[0],
                unlabeled_views=unlabeled | more[1],
                unlabeled_ratio=needs.unlabeled_ratio or part.needs.unlabeled_ratio,
                modules={**needs.modules, **part.needs.modules},
                networks=(*needs.networks, *part.needs.networks),
            )
        return needs

    def refine(self, module: Any, batch: Batch, outputs: Outputs) -> Outputs:
        """What the owner makes targets from, refined by every part that does."""
        for part in self.parts.values():
            outputs = part.refine(module, batch, outputs) if part.refines else outputs
        return outputs

    def loss(self, module: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor], Outputs]:
        """The owner's loss, or that of the labeled images alone, and every term."""
        if self.owner:
            loss, metrics, *rest = self.owner.loss(module, batch)
            outputs = rest[0] if rest else {}
        else:
            features = module.features(batch.labeled.views["weak"])
            outputs = {"labeled": module.head(features), "labeled_features": features}
            loss, metrics = module.labeled_loss(outputs["labeled"], batch.labeled.target), {}
        for name, part in self.terms.items():
            term, more, *_ = part.term(module, batch, outputs)
            loss, metrics = loss + term, metrics | {f"{name}/{key}": value for key, value in more.items()}
        return loss, metrics, outputs
