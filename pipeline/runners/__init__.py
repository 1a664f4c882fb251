"""Ways to run a compiled pipeline. All of them launch a node through `node.launch_node`, so they cannot differ in what it does."""
