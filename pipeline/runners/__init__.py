"""Ways to run a compiled pipeline. All launch a node through `node.launch_node`, so they cannot differ in what it does."""
