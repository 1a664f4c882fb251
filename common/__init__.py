"""What every package shares: exception tree, options base, atomic files, progress. Imports no TFX, no TensorFlow."""
