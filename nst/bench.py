"""`python -m nst.bench`: run the benchmark (`nst.tools.benchmark`)."""

from nst.tools.benchmark import main

if __name__ == "__main__":
    main()
