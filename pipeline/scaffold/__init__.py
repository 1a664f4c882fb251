"""`hivemill init DIR --table URL`: looks at a table and writes the config that a person would begin with."""
