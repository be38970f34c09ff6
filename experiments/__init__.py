"""Scripts that rerun the experiments of the paper: settings and a `main`, no algorithm."""
