"""What a check comes to, as frozen values: verdicts, findings, culprits, reports, and the catalogue of pitfalls."""
