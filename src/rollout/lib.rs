//! Makes a release run: the runtime trait and the local runtime.
