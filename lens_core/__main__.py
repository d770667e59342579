"""`python -m lens_core`: the command line."""

from lens_core.cli import main

if __name__ == "__main__":
    main()
