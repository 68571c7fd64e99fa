from toy.on_numpy import halves, scale

__all__ = ["halves", "scale"]
