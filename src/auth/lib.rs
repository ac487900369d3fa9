//! Who may do what: keys, tokens, sealed values, one policy.
