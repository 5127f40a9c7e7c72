"""What every package above may use: errors, arrays, values as people see them, places for files of our own."""
