"""The benchmark behind `make bench`: what Enclave adds to a call, beside a direct call."""
