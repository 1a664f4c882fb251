"""Readers of the files of a table: one module per format.

Each has `read_batches(file, spec, bad) -> Iterator[pyarrow.RecordBatch]`, streaming in bounded batches whose columns
have the declared types, or the file's own where none are declared. Formats that name their columns (Parquet, ORC, Avro)
also have `read_schema(file, spec)`. `reader` chooses the module by the file's magic bytes.
"""
