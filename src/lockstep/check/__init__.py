"""The check itself: the order of its steps, what each asks, how each is judged, and what proves a verdict."""
