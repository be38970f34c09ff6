"""The machine: files that are written whole, locks, signals, cores and memory, processes side by side."""
