"""From files to batches: manifest, split, image store. Knows nothing of networks."""
