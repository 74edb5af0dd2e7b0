"""AWS on one machine, for laptops and tests: the product reaches it through `AWS_ENDPOINT_URL…`, as it reaches AWS.

moto serves DynamoDB with Streams and S3; the Redshift Data API, Lambda and its event source mapping are ours. Nothing
of the product imports this package.
"""
