"""placeholder, replaced by the real one"""
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    path: Path
    @classmethod
    def of_project(cls, base): return cls(base / ".groundswell")
    @property
    def database_url(self): return "postgres://postgres@127.0.0.1:5432/postgres"
    @property
    def broker_url(self): return "redis://127.0.0.1:6379/0"
    @property
    def view_url(self): return "redis://127.0.0.1:6379/1"
    def secret_key(self): return "x" * 40
