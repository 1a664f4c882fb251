"""`python -m pipeline` is the same as `hivemill`."""

from pipeline.cli import entry

if __name__ == "__main__":
    entry()
