"""The indexing image: parse, chunk, embed, build a collection, measure recall, switch the alias."""
