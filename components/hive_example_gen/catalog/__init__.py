"""Where partitions are found. One module per kind of place; each gives `PartitionListing`s for the days asked for."""
