"""The nodes of the DAG: one folder for each, and what they share."""
