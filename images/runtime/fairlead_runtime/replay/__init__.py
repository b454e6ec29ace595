"""Replay before exposure: captured requests to the candidate and to the stable revision; a Job."""
