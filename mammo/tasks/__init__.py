"""What is learnt of an image: from labels to targets, and from probabilities to a decision."""

import importlib
import pkgutil

# Each module adds its tasks: a new one is a file in this room.
for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)
