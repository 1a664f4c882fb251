"""Ways to run a compiled pipeline. All launch a node by `node.launch_node`, so they cannot differ in what it does."""
