"""The dashboard's panels show what of them was logged."""

from __future__ import annotations

from semisup.dashboard import panels


def test_a_panel_shows_what_of_it_was_logged() -> None:
    sections = {s.name: s.panels for s in panels.shown(["best/test_accuracy", "best/test_accuracy/b", "seconds"])}
    assert sections == {
        "Accuracy": (panels.Panel("bars", "Test accuracy, best and last checkpoint", ("best/test_accuracy",)),),
        "Classes": (panels.Panel("bars", "Test accuracy of every class, best checkpoint", ("best/test_accuracy/b",)),),
        "Throughput and cost": (
            panels.Panel("bars", "Seconds of training", ("seconds",)),
            panels.Panel("scatter", "Test accuracy by seconds of training", ("best/test_accuracy",), "seconds"),
        ),
    }
    assert panels.shown(["something/else"]) == []
