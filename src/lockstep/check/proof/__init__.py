"""What makes an `equivalent` a proof: docs/design/proof.md."""
