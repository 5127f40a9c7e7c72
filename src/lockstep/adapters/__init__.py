"""One module per framework, each behind the `Subject` protocol; the core never imports them eagerly."""
