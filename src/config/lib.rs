//! The configuration file: a struct a section, and the commented template.
