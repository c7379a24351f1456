"""Entry point of ``python -m dopd_lightning``."""

from dopd_lightning.cli.main import main

if __name__ == "__main__":
    main()
