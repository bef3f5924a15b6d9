"""A campaign of damaged files: `python -m tests.mutations --count 3000`.

Valid files are damaged at random, but repeatably, and read as a dataset is read. What may come of it is an image,
a table or a typed refusal; no other exception, no crash, no hang, no more memory than is bounded, and no image
whose pixels the damaged file does not hold.
"""
