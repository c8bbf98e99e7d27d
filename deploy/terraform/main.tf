# The role as which the exporter runs, with the policies that `cognito-device-exporter iam-policy` prints.
# docs/iam.md says how it is used; the trust policy is one of deploy/iam or your own.

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
  description = "The name of the role."
  type        = string
  default     = "cognito-device-exporter"
}

variable "trust_policy" {
  description = "Who may assume the role, as JSON."
  type        = string
}

variable "policies" {
  description = "What the role may do: each part that `iam-policy` prints, as JSON. Almost always one."
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
  description = "For the service account's annotation, the Pod Identity association, or role_arn in the configuration."
  value       = aws_iam_role.this.arn
}
