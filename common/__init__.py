"""What every package shares: the exception tree, option base class, atomic files, progress. Imports no TFX and no TensorFlow."""
