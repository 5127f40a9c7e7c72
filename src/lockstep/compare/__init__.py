"""Variables put into pairs, arrays compared, and the rules that judge a difference."""
