"""The train Job: a revision in, an artifact out. `job` runs scikit-learn trainers, `container` frames a user's own."""
