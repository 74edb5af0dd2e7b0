"""fastetl: every change of a DynamoDB table, once and in order, in Amazon Redshift."""

__version__ = "0.1.0"
