"""Installs pip into an environment that ansible-test makes, from a wheel beside this file.

ansible-test itself would download a script that carries the wheel within, from a host that is no package index."""

from __future__ import annotations

import pathlib
import sys

(wheel,) = pathlib.Path(__file__).resolve().parent.glob("pip-*.whl")
sys.path.insert(0, str(wheel))

from pip._internal.cli.main import main  # noqa: E402

sys.exit(main(["install", "--upgrade", *(word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel"))]))
