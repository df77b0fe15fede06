"""The page that counts in a browser: a detector behind a local address. Needs the extra `serve`."""
