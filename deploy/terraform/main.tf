# IAM role of the exporter, with the policies printed by `cognito-device-exporter iam-policy`.
# Use a trust policy of deploy/iam or your own. See docs/iam.md.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "name" {
  description = "Name of the role."
  type        = string
  default     = "cognito-device-exporter"
}

variable "trust_policy" {
  description = "Trust policy of the role, as JSON."
  type        = string
}

variable "policies" {
  description = "Policies of the role, as JSON: one per part that `iam-policy` prints, usually one."
  type        = list(string)
}

resource "aws_iam_role" "this" {
  name               = var.name
  description        = "Reads remembered devices of Amazon Cognito user pools"
  assume_role_policy = var.trust_policy
}

resource "aws_iam_policy" "this" {
  count = length(var.policies)

  name        = length(var.policies) == 1 ? var.name : "${var.name}-${count.index + 1}"
  description = "Printed by cognito-device-exporter iam-policy"
  policy      = var.policies[count.index]
}

resource "aws_iam_role_policy_attachment" "this" {
  count = length(var.policies)

  role       = aws_iam_role.this.name
  policy_arn = aws_iam_policy.this[count.index].arn
}

output "role_arn" {
  description = "ARN for the service account annotation, the Pod Identity association, or role_arn."
  value       = aws_iam_role.this.arn
}
