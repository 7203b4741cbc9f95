"""Reports: runs as HTML pages, as Markdown and as CSV, read from their folders; needs no torch."""
