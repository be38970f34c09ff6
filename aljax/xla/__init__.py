"""What is told to XLA and kept of its work: compiling, the cache of programs, which devices hold what."""
