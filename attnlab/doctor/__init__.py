"""What `attnlab doctor` looks at: software, machine, data, weights, places to write to. Plain findings, no output."""

from attnlab.doctor.examine import examine
from attnlab.doctor.finding import Finding

__all__ = ["Finding", "examine"]
