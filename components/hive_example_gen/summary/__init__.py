"""What one pass keeps of a converted partition beside its TFRecords: counts, sketches, moments, statistics."""
