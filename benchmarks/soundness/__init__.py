"""How often Lockstep says something wrong: mutants, identical programs, faithful rewrites."""
