"""The machine: files written atomically, locks, signals, cores and memory, processes side by side."""
