"""Cognito client without the cost of boto3 per request."""
