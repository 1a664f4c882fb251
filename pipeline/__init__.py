"""Defines and runs the DAG: configuration, wiring, runners, runs and the command line."""
