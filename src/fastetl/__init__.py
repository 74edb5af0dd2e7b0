"""fastetl: every change of a DynamoDB table, once and in order, in Amazon Redshift."""

__version__ = "0.1.0"
"""The one place that says it: the package's metadata and `fastetl --version` read it here."""
