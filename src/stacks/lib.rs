//! Stack definitions and their base images.
