"""How names tell which variable of one side is which of the other, and in which order programs read them."""
