"""`python -m hivemill` is the same as `hivemill`."""

from hivemill.pipeline.cli.main import entry

if __name__ == "__main__":
    entry()
