"""What one run of a subject did, as values, and how a saved manifest of them must look."""
