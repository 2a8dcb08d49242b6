from tests.sweep.launch.conftest import gate

__all__ = ["gate"]
