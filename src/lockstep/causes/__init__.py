"""Why an operation computes something else: hypotheses, each tested, and the culprits that they name."""
