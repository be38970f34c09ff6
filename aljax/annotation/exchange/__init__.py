"""Rounds of annotation in other tools: Label Studio, CVAT, GeoJSON and COCO, a module each, and a common `Answer`."""
