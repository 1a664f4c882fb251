"""Click logs to run the pipeline on: a generator with a known true model, and importers of public data sets."""
