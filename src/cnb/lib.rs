//! Cloud Native Buildpacks file formats and detect's resolution: pure.
