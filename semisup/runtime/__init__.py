"""The process: launching, ranks, signals, the console, memory."""
