"""What may be wrong at a place, tested by computing it anew: one module for each kind of mistake."""
