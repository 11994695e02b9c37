#!/bin/sh
# Print the first interpreter that can run Enclave (Python 3.11 to 3.13), or say in one sentence
# that there is none. PYTHON=/path/to/python names one by hand.
set -u
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
  # A name on PATH may be a shim without an interpreter behind it, so each is tried.
  if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
    >/dev/null 2>&1; then
    echo "$candidate"
    exit 0
  fi
done
echo "Enclave needs Python 3.11, 3.12 or 3.13, and none of '${PYTHON:-python3 python3.13 python3.12 python3.11 python}' is one; install it, or name it with PYTHON=/path/to/python." >&2
exit 1
