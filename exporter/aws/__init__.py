"""Cognito as this program sees it; the only importer of boto3 and botocore."""
