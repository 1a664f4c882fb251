"""Readers of the files of a table: one module per format.

Each has `read_batches(file, spec) -> Iterator[pyarrow.RecordBatch]`, streaming in bounded batches whose columns have
the declared types, or the file's own where none are declared. Parquet and ORC also have `read_schema(file)`.
"""
