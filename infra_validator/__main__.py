"""python -m infra_validator: the command line."""

from infra_validator.cli.main import main

if __name__ == "__main__":
    main()
