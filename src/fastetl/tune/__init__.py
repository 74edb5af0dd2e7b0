"""Batch size, memory and thresholds, chosen together by measurement: `measure` → `model` → `search` → `report`."""
