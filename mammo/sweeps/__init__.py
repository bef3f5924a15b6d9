"""Many runs by one command: seeds, folds, grids and searches."""
