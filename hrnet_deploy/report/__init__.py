"""What fp16 and int8 cost, where, and whether it is worth it: evidence as HTML, Markdown, JSON and CSV."""
