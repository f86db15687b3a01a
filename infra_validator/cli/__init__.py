"""The command line: `infra-validator`."""
