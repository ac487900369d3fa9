//! Source to image: analyze, detect, restore, run, export.
