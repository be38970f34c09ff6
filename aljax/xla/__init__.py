"""XLA: compiler options, the cache of compiled programs, arrays on devices."""
