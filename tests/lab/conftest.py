from tests.lab.fixtures import fresh_lab, lab

__all__ = ["fresh_lab", "lab"]
