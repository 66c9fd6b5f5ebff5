"""The authors' weights as safetensors: readers of the formats, layouts, checks (docs/authors_weights.md)."""

from zoo.importers.importing import Imported, Report, import_weights

__all__ = ["Imported", "Report", "import_weights"]
