"""Access to AWS. No other package imports boto3 and botocore."""
