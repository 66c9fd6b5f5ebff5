"""Sources of HDR pictures, one file for each kind."""

from datamodules.sources.panorama import SUFFIXES, Panorama, read_panorama, scene_name

__all__ = ["SUFFIXES", "Panorama", "read_panorama", "scene_name"]
