"""The verbs of the command line, by theme: a module declares its own in `add_verbs` and imports what they need late."""
