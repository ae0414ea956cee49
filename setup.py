"""What pyproject.toml cannot say: the wheel holds `configs`, for `holdfast demo`."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithConfigs(build_py):
    """Copies them beside the package's own files; from a checkout they are read where they lie."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            shutil.copytree("configs", Path(self.build_lib) / "holdfast" / "configs", dirs_exist_ok=True)


setup(cmdclass={"build_py": WithConfigs})
