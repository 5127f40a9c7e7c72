"""A checkpoint of the original as weights of the candidate: the mapping that is proposed, the file that is written."""
