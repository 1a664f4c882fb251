"""`hivemill tune`: a search for better options of the model, as a page and as a change of hivemill.yaml."""
