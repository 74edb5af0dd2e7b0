"""The functions' roots: each module is a handler that Lambda imports, wired to the story that it runs."""
