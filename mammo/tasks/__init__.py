"""What is learnt of an image: from labels to targets, and from probabilities to a decision."""

from mammo.tasks import multiclass

__all__ = ["multiclass"]
