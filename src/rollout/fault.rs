//! What a rollout says when it fails.
