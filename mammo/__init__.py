"""mammo: breast-density classification experiments that can be trusted and repeated."""

__version__ = "0.1.0"
