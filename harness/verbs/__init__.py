"""The verbs of the command line, one module each. Importing them must stay cheap: no torch, no pandas."""
