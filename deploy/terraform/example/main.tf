# Roles for an exporter on EKS that reads pools in its own account and, through a role, in another.
# Run these commands in this directory before `terraform apply` (see docs/iam.md):
#
#   cognito-device-exporter iam-policy >exporter.json
#   cognito-device-exporter iam-policy --role "$READER" >reader.json
#   cognito-device-exporter iam-policy --role "$READER" --trust "$EXPORTER" >reader-trust.json

provider "aws" {
  region = "eu-west-1"
}

provider "aws" {
  alias  = "bank"
  region = "eu-west-1"

  assume_role {
    role_arn = "arn:aws:iam::210987654321:role/terraform"
  }
}

module "exporter" {
  source = "../"

  trust_policy = file("${path.module}/../../iam/trust-irsa.json")
  policies     = [file("${path.module}/exporter.json")]
}

module "reader" {
  source    = "../"
  providers = { aws = aws.bank }

  name         = "cognito-device-reader"
  trust_policy = file("${path.module}/reader-trust.json")
  policies     = [file("${path.module}/reader.json")]
}
