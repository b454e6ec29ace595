"""Pages for people: the model card and the drift report, each one self-contained HTML file and its JSON."""
