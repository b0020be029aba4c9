"""Strategies compared over seeds and numbers of labels: runs, what may be said of them, and the tables that say it."""
